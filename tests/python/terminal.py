"""Runs a program at a terminal of a given size, and prints what it showed there and how it ended, as JSON."""

import fcntl
import json
import os
import pty
import struct
import sys
import termios


def main():
    columns, rows, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    child, terminal = pty.fork()
    if child == 0:
        # Before the program begins: it looks at once.
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvp(program[0], program)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    _, status = os.waitpid(child, 0)
    print(json.dumps({"shown": shown.decode(), "code": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
