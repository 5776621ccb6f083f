"""A conversation with realm-run on a terminal, typed through a pseudo-terminal. Used by e2e.py."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time

QUESTION = "What is the capital of France?"
FRANCE = "The capital of France is Paris."


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *args):
        self.fd, inner = pty.openpty()

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.program = subprocess.Popen(
            [str(a) for a in args], stdin=inner, stdout=inner, stderr=inner, preexec_fn=own_terminal
        )
        os.close(inner)
        self.seen = ""

    def type(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def read(self, seconds):
        """What comes within so long; None at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return ""
        try:
            return os.read(self.fd, 65536).decode(errors="replace").replace("\r\n", "\n") or None
        except OSError:
            return None

    def expect(self, text, seconds=60):
        """Waits for a text in what has come since the last `type`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end:
                raise ValueError(f"'{text}' did not come: {self.seen[-500:]!r}")
            more = self.read(0.2)
            if more is None:
                raise ValueError(f"ended before '{text}': {self.seen[-500:]!r}")
            self.seen += more

    def end(self):
        while self.read(0.2) is not None:
            if self.program.poll() is not None:
                break
        code = self.program.wait(timeout=30)
        os.close(self.fd)
        return code


def conversation(tools):
    saved = tools.scratch / "conversation.state"
    t = Terminal(tools.run, "--chat", "-n", 40)
    t.expect("> ")
    t.type(QUESTION + "\n")
    t.expect(FRANCE + "\n> ")
    # A line that is being typed is given up, and not the program: however early.
    t.type("\x03")
    t.expect("\n> ")
    t.type("nonsense")
    t.expect("nonsense")
    t.type("\x03")
    t.expect("\n> ")
    t.type("What is the capital of Japan?\n")
    t.expect("Tokyo")
    t.expect("\n> ")
    t.type("Tell me \\\n")
    t.expect(". ")
    t.type("more.\n")
    t.expect("\n> ")
    t.type(f"/save {saved}\n")
    t.expect("saved to")
    t.type("/reset\n")
    t.expect("a new conversation")
    t.type("/nonsense\n")
    t.expect("is no command")
    t.type("/load\n")
    t.expect("the name of a file is missing")
    t.type("/load /nonexistent\n")
    t.expect("cannot read /nonexistent")
    t.type(f"/load {saved}\n")
    t.expect("going on with")
    t.type(QUESTION + "\n")
    t.expect(FRANCE + "\n> ")
    t.type("/help\n")
    t.expect("/reset")
    t.expect("\n> ")
    t.type("\x04")
    code = t.end()
    if code != 0:
        raise ValueError(f"exit code {code}")


def interrupted(tools):
    """Ctrl-C stops a reply that has no end of its own; the next one is as good as ever."""
    t = Terminal(tools.run, "--chat", "--ignore-eos", "-c", 65536)
    t.expect("> ")
    t.type(QUESTION + "\n")
    t.expect(FRANCE)
    os.write(t.fd, b"\x03")
    t.expect("[stopped]\n> ", 30)
    t.type("/reset\n")
    t.expect("a new conversation\n> ")
    t.type(QUESTION + "\n")
    t.expect(FRANCE)
    os.write(t.fd, b"\x03")
    t.expect("[stopped]\n> ", 30)
    t.type("/quit\n")
    code = t.end()
    if code != 0:
        raise ValueError(f"exit code {code}")


def piped(tools):
    """Without a terminal there are only replies on stdout."""
    done = subprocess.run(
        [str(tools.run), "--chat", "-n", "40"], input=f"{QUESTION}\n/help\n{QUESTION}\n".encode(), capture_output=True, timeout=120
    )
    if done.returncode != 0 or done.stdout.decode() != f"{FRANCE}\n{FRANCE}\n" or b"> " in done.stderr:
        raise ValueError(f"exit code {done.returncode}: {done.stdout!r} {done.stderr!r}")
    # A line with a zero byte is left out whole, and swallows nothing of the next; the exit code tells.
    lines = f"{QUESTION[:9]}\0{QUESTION[9:]}\n{QUESTION}".encode()
    done = subprocess.run([str(tools.run), "--chat", "-n", "40"], input=lines, capture_output=True, timeout=120)
    if done.returncode != 1 or done.stdout.decode() != f"{FRANCE}\n" or b"zero byte" not in done.stderr:
        raise ValueError(f"exit code {done.returncode}: {done.stdout!r} {done.stderr!r}")
    # And so does it of a reply that did not begin, or did not end, for want of room.
    for room, code in (("8", 1), ("20", 3)):
        done = subprocess.run([str(tools.run), "--chat", "-c", room], input=f"{QUESTION}\n".encode(), capture_output=True, timeout=120)
        if done.returncode != code or b"the context" not in done.stderr:
            raise ValueError(f"exit code {done.returncode}: {done.stdout!r} {done.stderr!r}")
