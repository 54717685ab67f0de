"""A pymodbus server for tests/modbus_peers.rs: it encodes and decodes with Python's struct.

usage: modbus_server.py tcp|rtu|ascii|rtu+tcp WHERE

The first line of stdin is JSON: {"units": [..], "silent": [..], "cases": [..]} with cases
{"table": "holding", "at": 100, "type": "f32", "order": "CDAB", "value": 78.2}; coils and discrete
inputs hold true or false. Every unit holds the same, but for holding register 10, which holds 100
times its number. Requests to 9000 + CODE are answered with that exception. Then each further line
is answered with one line of JSON: "dump UNIT" gives what each holding case holds now, decoded,
"counts" how many requests each unit got by function.
"""

import asyncio
import json
import struct
import sys

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

SIZE = 9100
FORMATS = {
    "u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q",
    "f32": ">f", "f64": ">d",
}  # fmt: skip


def turned(data, order):
    """Big-endian bytes in another order, or back: every order is its own inverse."""
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA", "BA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


def encoded(case):
    if case["type"] == "string":
        data = case["value"].encode("ascii").ljust(2 * case["length"], b"\0")
    else:
        data = struct.pack(FORMATS[case["type"]], case["value"])
    data = turned(data, case["order"])
    return [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]


def decoded(case, registers):
    words = registers[case["at"] : case["at"] + len(encoded(case))]
    data = turned(b"".join(word.to_bytes(2, "big") for word in words), case["order"])
    if case["type"] == "string":
        return data.rstrip(b"\0").decode("ascii")
    return struct.unpack(FORMATS[case["type"]], data)[0]


def device(unit, cases):
    async def action(_function, _start, address, _count, _registers, _values):
        if 9000 <= address <= 9000 + 11:
            return ExcCodes(address - 9000)
        return None

    words = {"holding": [0] * SIZE, "input": [0] * SIZE}
    bits = {"coil": [False] * 160, "discrete": [False] * 160}
    words["holding"][10] = 100 * unit
    for case in cases:
        if case["table"] in bits:
            bits[case["table"]][case["at"]] = case["value"]
        else:
            for at, word in enumerate(encoded(case), case["at"]):
                words[case["table"]][at] = word
    block = lambda values, kind: [SimData(0, values=values, datatype=kind)]
    simdata = (
        block(bits["coil"], DataType.BITS),
        block(bits["discrete"], DataType.BITS),
        block(words["holding"], DataType.REGISTERS),
        block(words["input"], DataType.REGISTERS),
    )
    return SimDevice(unit, simdata=simdata, use_bit_addressing=True, action=action)


async def main(kind, where):
    line = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    setup = json.loads(await line())
    counts = {}

    def heard(sending, pdu):
        if not sending:
            key = f"{pdu.dev_id}/{pdu.function_code}"
            counts[key] = counts.get(key, 0) + 1
        return pdu

    def quiet(sending, packet):
        unit = {"rtu": 0, "rtu+tcp": 0, "tcp": 6}.get(kind)
        if sending and unit is not None and packet[unit : unit + 1] in silent:
            return b""
        return packet

    silent = {bytes([unit]) for unit in setup.get("silent", [])}
    units = setup["units"] + setup.get("silent", [])
    devices = [device(unit, setup["cases"]) for unit in units]
    common = {"trace_pdu": heard, "trace_packet": quiet}
    if kind in ("tcp", "rtu+tcp"):
        framer = FramerType.SOCKET if kind == "tcp" else FramerType.RTU
        address = ("127.0.0.1", int(where))
        server = ModbusTcpServer(devices, framer=framer, address=address, **common)
    else:
        framer = FramerType.RTU if kind == "rtu" else FramerType.ASCII
        server = ModbusSerialServer(devices, framer=framer, port=where, baudrate=115200, **common)
    await server.serve_forever(background=True)
    print("ready", flush=True)
    while order := (await line()).split():
        if order[0] == "dump":
            registers = server.context.devices[int(order[1])].block["h"][2]
            answer = [decoded(c, registers) for c in setup["cases"] if c["table"] == "holding"]
        else:
            answer = counts
        print(json.dumps(answer), flush=True)
    await server.shutdown()


asyncio.run(main(*sys.argv[1:]))
