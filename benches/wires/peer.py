"""What other programs reach on the same wires: one line with a count and the seconds it took."""

import sys
import time


def modbus(host, port, seconds):
    """pymodbus reads one holding register again and again."""
    from pymodbus.client import ModbusTcpClient

    client = ModbusTcpClient(host, port=int(port))
    assert client.connect()

    def read():
        answer = client.read_holding_registers(1, count=1, device_id=1)
        assert not answer.isError(), answer

    repeat(read, seconds)


def modbus_async(host, port, lines, seconds):
    """pymodbus's asynchronous client, some lines at once."""
    import asyncio

    from pymodbus.client import AsyncModbusTcpClient

    async def one(until):
        client = AsyncModbusTcpClient(host, port=int(port))
        assert await client.connect()
        count = 0
        while time.perf_counter() < until:
            answer = await client.read_holding_registers(1, count=1, device_id=1)
            assert not answer.isError(), answer
            count += 1
        client.close()
        return count

    async def all_lines():
        begun = time.perf_counter()
        until = begun + float(seconds)
        counts = await asyncio.gather(*[one(until) for _ in range(int(lines))])
        print(sum(counts), time.perf_counter() - begun)

    asyncio.run(all_lines())


def rtu(path, baud, seconds):
    """pymodbus reads two holding registers over a serial line."""
    from pymodbus.client import ModbusSerialClient

    client = ModbusSerialClient(path, baudrate=int(baud), parity="N", stopbits=1, timeout=2)
    assert client.connect()

    def read():
        answer = client.read_holding_registers(1, count=2, device_id=1)
        assert not answer.isError(), answer

    repeat(read, seconds)


def ascii(path, baud, seconds):
    """pyserial asks for one value."""
    import serial

    port = serial.Serial(path, int(baud), timeout=2)

    def read():
        port.reset_input_buffer()
        port.write(b"MEAS:VOLT?\n")
        answer = port.read_until(b"\n")
        assert answer.endswith(b"\n"), answer
        float(answer)

    repeat(read, seconds)


def repeat(read, seconds):
    for _ in range(20):
        read()
    seconds = float(seconds)
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        read()
        count += 1
    print(count, time.perf_counter() - begun)


{"modbus": modbus, "async": modbus_async, "rtu": rtu, "ascii": ascii}[sys.argv[1]](*sys.argv[2:])
