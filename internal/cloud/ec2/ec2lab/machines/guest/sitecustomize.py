# Written by the EC2 test lab before the first start. On EC2 the firmware says whose machine this is,
# and only then cloud-init asks the metadata service for a token. A container has no firmware of its
# own, so the lab says it here, to cloud-init's first two stages alone.
try:
    from cloudinit import dmi

    _IDENTITY = "ec21ab00-0000-4000-8000-000000000000"
    _FIRMWARE = {
        "system-uuid": _IDENTITY,
        "system-serial-number": _IDENTITY,
        "system-manufacturer": "Amazon EC2",
        "chassis-asset-tag": "Amazon EC2",
    }
    dmi.read_dmi_data = _FIRMWARE.get
except Exception:  # another program's Python, or another cloud-init
    pass
