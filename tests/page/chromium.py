"""Debian's Chromium without a window, driven by its own DevTools protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

JSON = dict[str, Any]
PROGRAM = "chromium"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--force-color-profile=srgb", "--hide-scrollbars", "--lang=en-GB", "--remote-debugging-port=0"),
)
WAIT = 30.0


class Browser:
    """One page. problems: what the console, the policy or an exception has said; dialogs: texts of alert() and the like."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[JSON]] = {}
        self._sending: set[asyncio.Future[None]] = set()
        self._session = ""
        self._loaded = asyncio.Event()
        self.problems: list[str] = []
        self.dialogs: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            else:
                self._event(found["method"], found["params"])

    def _event(self, method: str, params: JSON) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self._post("Page.handleJavaScriptDialog", {"accept": False})

    def _post(self, method: str, params: JSON) -> int:
        number = next(self._ids)
        body: JSON = {"id": number, "method": method, "params": params}
        self._answers[number] = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(
            self._socket.send_json(body | ({"sessionId": self._session} if self._session else {}))
        )
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return number

    async def call(self, method: str, **params: Any) -> JSON:
        number = self._post(method, params)
        found = await asyncio.wait_for(self._answers[number], WAIT)
        assert "error" not in found, (method, found["error"])
        result: JSON = found["result"]
        return result

    async def attach(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        # Else a page that has just been changed comes from the cache, as it may for fifteen seconds.
        await self.call("Network.setCacheDisabled", cacheDisabled=True)

    async def open(self, url: str) -> None:
        self._loaded.clear()
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, (url, answer)
        await asyncio.wait_for(self._loaded.wait(), WAIT)

    async def run(self, script: str) -> Any:
        """The value of an expression, promises awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def look(self, width: int, height: int, dark: bool = False, motion: bool = True) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "no-preference" if motion else "reduce"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, file: Path, grey: bool = False) -> None:
        await self.call("Emulation.setEmulatedVisionDeficiency", type="achromatopsia" if grey else "none")
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(found["data"]))

    async def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    program = shutil.which(PROGRAM)
    assert program, f"install Debian's {PROGRAM}"
    with (folder / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *FLAGS, f"--user-data-dir={folder}", "about:blank", stdout=log, stderr=log, start_new_session=True
        )
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(await _address(folder, process), max_msg_size=64 * 1024 * 1024) as socket,
            ):
                found = Browser(socket)
                listening = asyncio.create_task(found.listen())
                await found.attach()
                yield found
                listening.cancel()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _address(folder: Path, process: asyncio.subprocess.Process) -> str:
    """Chromium writes its port, and the path of its socket, once it listens."""
    file = folder / "DevToolsActivePort"
    for _ in range(300):
        if file.exists() and len(file.read_text().splitlines()) == 2:
            port, path = file.read_text().splitlines()
            return f"ws://127.0.0.1:{port}{path}"
        assert process.returncode is None, (folder / "chromium.log").read_text()[-2000:]
        await asyncio.sleep(0.1)
    raise AssertionError("Chromium does not listen")
