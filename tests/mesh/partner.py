"""A partner behind MESH, with NHS England's own client. Run by tests/mesh.rs.

partner.py URL FOLDER MAILBOX PASSWORD COMMAND [JSON]: FOLDER holds ca.pem, client.pem, client.key and shared-key.
Prints one JSON value.
"""

import json
import pathlib
import sys

from mesh_client import MeshClient

url, folder, mailbox, password, command = sys.argv[1:6]
asked = json.loads(sys.argv[6]) if len(sys.argv) > 6 else {}
folder = pathlib.Path(folder)
client = MeshClient(
    url,
    mailbox,
    password,
    shared_key=(folder / "shared-key").read_bytes().strip(),
    cert=(str(folder / "client.pem"), str(folder / "client.key")),
    verify=str(folder / "ca.pem"),
    max_retries=0,
)


def read():
    """Everything in the inbox, acknowledged."""
    messages = []
    for message in client.iterate_all_messages():
        headers = {name.lower(): value for name, value in message.mex_headers()}
        messages.append({"headers": headers, "body": message.read().decode()})
        message.acknowledge()
    return messages


def send():
    """A message, or several of the same; gives the last one's id."""
    for _ in range(asked.get("times", 1)):
        last = send_one()
    return last


def send_one():
    return client.send_message(
        asked["to"],
        asked["body"].encode(),
        max_chunk_size=asked.get("chunk"),
        workflow_id=asked["workflow"],
        local_id=asked.get("local_id"),
    )


def report():
    """Has the sandbox put a report into an inbox."""
    answer = client._session.post(url + "/messageexchange/admin/report", json=asked)
    answer.raise_for_status()
    return answer.json()["message_id"]


def track():
    """What became of a message that this mailbox sent."""
    return client.track_message(asked["id"])["status"]


def waiting():
    """The ids of the messages in the inbox."""
    return client.list_messages()


print(json.dumps({"read": read, "send": send, "report": report, "track": track, "waiting": waiting}[command]()))
