"""minimalmodbus as a master, for tests/modbus_masters.rs.

usage: modbus_master.py rtu|ascii PORT, with JSON on stdin: a list of [unit, method, arguments..].
Prints a list with what each call gave, or the name of its exception.
"""

import json
import sys

import minimalmodbus

mode = {"rtu": minimalmodbus.MODE_RTU, "ascii": minimalmodbus.MODE_ASCII}[sys.argv[1]]
results = []
for unit, method, *arguments in json.load(sys.stdin):
    # 8N1 also for ASCII: pseudo-terminals have neither seven bits nor parity.
    master = minimalmodbus.Instrument(sys.argv[2], unit, mode=mode)
    master.serial.baudrate = 19200
    master.serial.timeout = 1
    try:
        results.append(getattr(master, method)(*arguments))
    except minimalmodbus.ModbusException as error:
        results.append(type(error).__name__)
    master.serial.close()
print(json.dumps(results))
