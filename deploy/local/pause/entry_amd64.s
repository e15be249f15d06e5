#include "textflag.h"

// rt_sigaction(SIGCHLD, &ignore, nil, 8), then pause() for ever.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $13, AX
	MOVQ $17, DI
	LEAQ ·ignore(SB), SI
	XORQ DX, DX
	MOVQ $8, R10
	SYSCALL

again:
	MOVQ $34, AX
	SYSCALL
	JMP again
