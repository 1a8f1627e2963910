# SPDX-License-Identifier: Apache-2.0
"""Usage: embed.py FILE NAME OUTPUT - a C source that defines NAME as the file's bytes, then NUL."""
import sys

path, name, output = sys.argv[1:]
with open(path, "rb") as source:
    data = source.read().strip() + b"\0"
with open(output, "w") as out:
    out.write('#include "cli/openapi.h"\n')
    out.write(f"const char {name}[] = {{\n")
    for at in range(0, len(data), 16):
        out.write("\t" + " ".join(f"{byte}," for byte in data[at : at + 16]) + "\n")
    out.write("};\n")
