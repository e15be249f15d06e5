// Command pause holds a pod's namespaces open and lets the kernel reap its orphans.
//
// It never starts the Go runtime: its threads would take process ids in a pod that shares its process namespace, and
// PostgreSQL, which looks whether the process of a stale postmaster.pid lives, would then refuse to start.
package main

// ignore is a struct sigaction of the kernel: handler SIG_IGN, no flags, no restorer, empty mask.
var ignore = [4]uint64{1}

// entry is where the program begins; the linker is told so.
func entry()

func main() { entry(); _ = ignore }
