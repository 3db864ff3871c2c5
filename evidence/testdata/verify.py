#!/usr/bin/env python3
"""Verify a file of evidence, written from docs/formats/evidence.md alone.

usage: verify.py FILE [VERIFIER-KEY]

Python's standard library, and openssl for the signature. It does the checks 1
to 6 of the page and prints what the records say; what the rows mean for the
use is for `writ evidence verify`, or for a reader.
"""
import base64, hashlib, json, os, subprocess, sys, tempfile

NOTICE = "This file shows what one organization's Writ ledger records about one use of one credential. "


def need(ok, what):
    if not ok:
        sys.exit("REFUSED: " + what)


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def spell(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def b64(text, url=False):
    raw = (base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if url else base64.b64decode(text, validate=True))
    again = base64.urlsafe_b64encode(raw).decode().rstrip("=") if url else base64.b64encode(raw).decode()
    need(again == text, "base64 with another spelling")
    return raw


def exactly(value, *names, optional=()):
    need(isinstance(value, dict) and set(names) <= set(value) <= set(names) | set(optional), "members other than " + ", ".join(names))
    return value


def root_of(h, index, size, path):
    """The root that an RFC 6962 audit path leads to, from the leaf up."""
    need(0 <= index < size, "a place outside the tree")
    path, last = list(path), size - 1
    while last:
        if index % 2:
            h = H(b"\1", path.pop(0) if path else b"", h)
        elif index < last:
            h = H(b"\1", h, path.pop(0) if path else b"")
        index, last = index // 2, last // 2
    need(not path, "a proof that is too long")
    return h


def check_note(signed, key):
    """The lines of a signed note, whose signature by the key holds."""
    text, _, signatures = signed.rpartition("\n\n")
    text += "\n"
    lines = text.split("\n")
    found = [line.split(" ") for line in signatures.rstrip("\n").split("\n")]
    for dash, _, signature in found:
        need(dash == "—" and len(b64(signature)) >= 5, "a signature line that is none")
    if key is None:
        return lines, False
    name, key_hash, public = key.split("+", 2)
    public = b64(public)
    need(name == lines[0], "the key is another log's")
    need(public[:1] == b"\1" and H(name.encode(), b"\n", public)[:4].hex() == key_hash, "a key that is none")
    for _, signer, signature in found:
        signature = b64(signature)
        if signer == name and signature[:4].hex() == key_hash:
            with tempfile.TemporaryDirectory() as d:
                files = {"key": bytes.fromhex("302a300506032b6570032100") + public[1:], "text": text.encode(), "sig": signature[4:]}
                for f, content in files.items():
                    with open(os.path.join(d, f), "wb") as out:
                        out.write(content)
                done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey", "key", "-in", "text", "-sigfile", "sig"], cwd=d, capture_output=True)
            need(done.returncode == 0, "the checkpoint's signature does not hold")
            return lines, True
    need(False, "the key did not sign the checkpoint")


def main(file, key=None):
    with open(file, "rb") as f:
        raw = f.read()
    try:
        bundle = json.loads(raw)
    except ValueError:
        need(False, "not JSON")
    need(raw == (spell(bundle) + "\n").encode("utf-8", "replace"), "not the one spelling")
    exactly(bundle, "checkpoint", "entries", "format", "notice", "use")
    need(bundle["format"] == "writ-evidence-v1" and bundle["notice"].startswith(NOTICE), "another format")
    note, signed = check_note(bundle["checkpoint"], key)
    size, root = int(note[1]), b64(note[2])

    allow, outcome, changes, before = None, None, {}, None
    for entry in bundle["entries"]:
        exactly(entry, "leaf", "parts", "proof", optional=["member"])
        leaf = exactly(json.loads(entry["leaf"]), "incarnation", "org", "parts", "seq", "time", "type", "v")
        need(spell(leaf) == entry["leaf"] and leaf["v"] == 1, "a leaf with another spelling")
        proof = [b64(h) for h in entry["proof"]]
        need(root_of(H(b"\0", entry["leaf"].encode()), leaf["seq"], size, proof) == root, "entry %d is not in the log" % leaf["seq"])
        need(before is None or before["org"] == leaf["org"] and before["seq"] < leaf["seq"] and before["time"] <= leaf["time"], "entries out of order")
        before, hashes, open_parts = leaf, {p["name"]: b64(p["hash"], True) for p in leaf["parts"]}, {}
        for part in entry["parts"]:
            exactly(part, "name", "salt", "text")
            name, text = part["name"], part["text"]
            need(H(b"writ-part-v1\0", name.encode(), b"\0", b64(part["salt"], True), text.encode()) == hashes.get(name), "a part of entry %d was changed" % leaf["seq"])
            open_parts[name] = json.loads(text)
        need((leaf["type"] == "outcomes") == ("member" in entry), "an outcome out of place")
        if leaf["type"] == "allow":
            need(allow is None, "two uses")
            allow = (leaf, open_parts)
        elif leaf["type"] == "outcomes":
            need(outcome is None and allow is not None, "two outcomes, or one before its use")
            m = exactly(entry["member"], "index", "proof", "salt", "text")
            h = H(b"\0", b"writ-member-v1\0", b64(m["salt"], True), m["text"].encode())
            need(root_of(h, m["index"], open_parts["core"]["count"], [b64(p) for p in m["proof"]]) == hashes["members"], "the outcome was changed")
            outcome = json.loads(m["text"])
            need(outcome["use"] == bundle["use"], "another use's outcome")
        else:
            need(leaf["type"] == "change", "an entry that has no place here")
            changes[leaf["seq"]] = open_parts

    need(allow is not None and "core" in allow[1], "no decision")
    core = allow[1]["core"]
    need("use" + core["decision"].removeprefix("dec") == bundle["use"], "another use's decision")
    rows = {}
    for id, seq in core["records"]:
        need(seq in changes and seq < allow[0]["seq"] and id in changes[seq]["core"]["refs"], "entry %d is no record of %s" % (seq, id))
        need(not any(seq < s < allow[0]["seq"] and id in c["core"]["refs"] and c["core"]["epoch"] <= core["epoch"]["n"] for s, c in changes.items()), id + " changed since")
        for part in changes[seq].values():
            for row in part.get("rows", []):
                if row["id"] == id:
                    need(row["body"]["id"] == id, "a row under another id")
                    rows[id] = row["body"]
    for id in core["rests"]:
        print(json.dumps(rows.get(id, {"id": id, "missing": True}), ensure_ascii=True))
    print(json.dumps({"decision": core["decision"], "request": allow[1].get("detail"), "outcome": outcome}, ensure_ascii=True))
    print("VERIFIED" if signed else "CONSISTENT, signer unproven")
    sys.exit(0 if signed else 5)


if __name__ == "__main__":
    main(*sys.argv[1:])
