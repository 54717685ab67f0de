"""An edge node of Sparkplug B with one oven behind it, by a library nobody here wrote.

Prints a line for each command it takes. Of its own it adds what the library leaves to its user: the
births that are asked for again.
"""

import itertools
import sys
import time

import pysparkplug as spb

HOST, PORT = sys.argv[1], int(sys.argv[2])
GROUP, NODE, DEVICE = "lab", "edge", "oven"


def metric(name, kind, value):
    return spb.Metric(spb.get_current_timestamp(), name, kind, value=value)


def births(node):
    """All births again, with the number of the will that the broker holds."""
    node._EdgeNode__seq_cycler = itertools.cycle(range(256))
    # The library has prepared the number of the next connection already.
    bd_seq = (node._bd_seq_metric.value - 1) % 256
    metrics = (*node._metrics.values(), metric("bdSeq", spb.DataType.INT64, bd_seq))
    now = spb.get_current_timestamp()
    kinds = [(spb.MessageType.NBIRTH, None, spb.NBirth, metrics)]
    for device in node._devices.values():
        its = tuple(device.metrics.values())
        kinds.append((spb.MessageType.DBIRTH, device.device_id, spb.DBirth, its))
    for kind, device, birth, metrics in kinds:
        topic = spb.Topic(message_type=kind, group_id=GROUP, edge_node_id=NODE, device_id=device)
        payload = birth(timestamp=now, seq=node._seq, metrics=metrics)
        message = spb.Message(topic=topic, payload=payload, qos=spb.QoS.AT_MOST_ONCE, retain=False)
        node._client.publish(message, include_dtypes=True)


def node_command(node, message):
    if any(m.name == "Node Control/Rebirth" and m.value for m in message.payload.metrics):
        births(node)


def device_command(node, message):
    for wanted in message.payload.metrics:
        print(f"{wanted.name} = {wanted.value}", flush=True)
    node.update_device(DEVICE, message.payload.metrics)


oven = spb.Device(
    DEVICE,
    [
        metric("Inputs/Temperature", spb.DataType.FLOAT, 21.5),
        metric("Setpoint", spb.DataType.FLOAT, 20.0),
        metric("Enable", spb.DataType.BOOLEAN, False),
    ],
    cmd_callback=device_command,
)
rebirth = metric("Node Control/Rebirth", spb.DataType.BOOLEAN, False)
edge = spb.EdgeNode(GROUP, NODE, [rebirth], cmd_callback=node_command)
edge.register(oven)
edge.connect(HOST, port=PORT)
print("there", flush=True)
while True:
    time.sleep(1)
