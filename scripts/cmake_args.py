"""Prints the CMAKE_ARGS that llama.cpp is built with on this machine: RPC, and what it needs.

GCC 12 compiles llama.cpp's AMX set-up wrongly: it takes the tile configuration's fields but for
the first eight bytes for dead stores, and the first batch of several quantised tokens ends in a
segmentation fault. Whether that is so here is tried, not guessed: the same pattern is compiled
and run, and where it crashes llama.cpp is built without its AMX kernels.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

RPC = "-DGGML_RPC=on"
WITHOUT_AMX = "-DCMAKE_C_FLAGS=-U__AMX_INT8__ -DCMAKE_CXX_FLAGS=-U__AMX_INT8__"

SOURCE = r"""
#include <immintrin.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
struct config { uint8_t palette = 0, start = 0, reserved[14] = {0};
                uint16_t columns[16] = {0}; uint8_t rows[16] = {0}; };
// Memory that is not zero, so that what is not stored is seen.
__attribute__((noinline)) int dirty() {
    volatile uint8_t junk[4096];
    for (int i = 0; i < 4096; i++) junk[i] = 0xff;
    return junk[17];
}
__attribute__((noinline)) void load() {
    alignas(64) config c = {};
    c.palette = 1;
    for (int i = 0; i < 8; i++) { c.rows[i] = 8; c.columns[i] = 64; }
    _tile_loadconfig(&c);
}
int main() {
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;
    dirty();
    load();
    return 0;
}
"""


def amx_crashes() -> bool:
    """Whether the CPU has AMX and the compiler's code for it does not work."""
    try:
        if "amx_int8" not in Path("/proc/cpuinfo").read_text():
            return False
    except OSError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "amx.cpp"), Path(folder, "amx")
        source.write_text(SOURCE)
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, "-O3", "-march=native", str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return False
        return subprocess.run([str(program)], capture_output=True, check=False).returncode != 0


def main() -> None:
    given = os.environ.get("CMAKE_ARGS")
    if given is not None:
        print(given)
    else:
        print(f"{RPC} {WITHOUT_AMX}" if amx_crashes() else RPC)


if __name__ == "__main__":
    main()
