"""What programs do with hvac, Python's client of Vault, against the server at VAULT_ADDR with the root token VAULT_TOKEN.

Run against OpenBao it shows that the script is right, run against bulla that the client works there. Prints a line for each part that went well.
"""

import base64
import os
import time

import hvac
from hvac import exceptions

ADDRESS, ROOT = os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"]
root = hvac.Client(url=ADDRESS, token=ROOT)


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def refused(error, call, *arguments, **named):
    """The call must fail with this exception; gives it."""
    try:
        call(*arguments, **named)
    except error as found:
        return found
    raise AssertionError(f"{call} was not refused")


def client(token):
    return hvac.Client(url=ADDRESS, token=token)


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def kv1():
    root.sys.enable_secrets_engine("kv", path="one", options={"version": "1"})
    kv = root.secrets.kv.v1
    kv.create_or_update_secret("a/b", {"x": "1", "list": [1, 2]}, mount_point="one")
    same(kv.read_secret("a/b", mount_point="one")["data"], {"x": "1", "list": [1, 2]})
    kv.create_or_update_secret("a/b", {"y": "é\n"}, mount_point="one")
    same(kv.read_secret("a/b", mount_point="one")["data"], {"y": "é\n"})
    same(kv.list_secrets("a", mount_point="one")["data"]["keys"], ["b"])
    kv.delete_secret("a/b", mount_point="one")
    refused(exceptions.InvalidPath, kv.read_secret, "a/b", mount_point="one")


def kv2():
    root.sys.enable_secrets_engine("kv", path="two", options={"version": "2"})
    kv = root.secrets.kv.v2
    ours = {"mount_point": "two"}
    kv.configure(max_versions=5, **ours)
    same(kv.read_configuration(**ours)["data"]["max_versions"], 5)
    same(kv.create_or_update_secret("k", {"n": 1}, cas=0, **ours)["data"]["version"], 1)
    refused(exceptions.InvalidRequest, kv.create_or_update_secret, "k", {"n": 2}, cas=0, **ours)
    kv.create_or_update_secret("k", {"n": 2, "m": "x"}, cas=1, **ours)
    kv.patch("k", {"n": 3}, **ours)
    read = kv.read_secret_version("k", raise_on_deleted_version=True, **ours)["data"]
    same((read["data"], read["metadata"]["version"]), ({"n": 3, "m": "x"}, 3))
    same(kv.read_secret_version("k", version=1, raise_on_deleted_version=True, **ours)["data"]["data"], {"n": 1})
    kv.delete_latest_version_of_secret("k", **ours)
    refused(exceptions.InvalidPath, kv.read_secret_version, "k", raise_on_deleted_version=True, **ours)
    same(kv.read_secret_version("k", raise_on_deleted_version=False, **ours)["data"]["data"], None)
    kv.undelete_secret_versions("k", [3], **ours)
    same(kv.read_secret_version("k", raise_on_deleted_version=True, **ours)["data"]["data"]["n"], 3)
    kv.delete_secret_versions("k", [1], **ours)
    kv.destroy_secret_versions("k", [2], **ours)
    kv.update_metadata("k", max_versions=3, cas_required=True, custom_metadata={"owner": "me"}, **ours)
    about = kv.read_secret_metadata("k", **ours)["data"]
    same((about["max_versions"], about["cas_required"], about["custom_metadata"]), (3, True, {"owner": "me"}))
    same((about["versions"]["2"]["destroyed"], about["versions"]["1"]["deletion_time"] != ""), (True, True))
    refused(exceptions.InvalidRequest, kv.create_or_update_secret, "k", {"n": 4}, **ours)
    same(kv.list_secrets("", **ours)["data"]["keys"], ["k"])
    kv.delete_metadata_and_all_versions("k", **ours)
    refused(exceptions.InvalidPath, kv.read_secret_metadata, "k", **ours)


def transit():
    root.sys.enable_secrets_engine("transit")
    transit = root.secrets.transit
    for name, kind in [("a", "aes256-gcm96"), ("e", "ed25519"), ("p", "ecdsa-p256"), ("r", "rsa-2048"), ("x", "chacha20-poly1305")]:
        transit.create_key(name, key_type=kind, exportable=True)
        same(transit.read_key(name)["data"]["type"], kind)
    same(sorted(transit.list_keys()["data"]["keys"]), ["a", "e", "p", "r", "x"])
    for name in ["a", "r", "x"]:
        sealed = transit.encrypt_data(name, plaintext=encoded("hello"))["data"]["ciphertext"]
        same(transit.decrypt_data(name, ciphertext=sealed)["data"]["plaintext"], encoded("hello"))
    sealed = transit.encrypt_data("a", plaintext=encoded("old"))["data"]["ciphertext"]
    transit.rotate_key("a")
    anew = transit.rewrap_data("a", ciphertext=sealed)["data"]["ciphertext"]
    same((sealed.split(":")[1], anew.split(":")[1]), ("v1", "v2"))
    batch = transit.encrypt_data("a", batch_input=[{"plaintext": encoded("1")}, {"plaintext": encoded("2")}])["data"]["batch_results"]
    opened = transit.decrypt_data("a", batch_input=[{"ciphertext": one["ciphertext"]} for one in batch])["data"]["batch_results"]
    same([one["plaintext"] for one in opened], [encoded("1"), encoded("2")])
    transit.update_key_configuration("a", min_decryption_version=2, deletion_allowed=True)
    refused(exceptions.InvalidRequest, transit.decrypt_data, "a", ciphertext=sealed)
    for name in ["e", "p", "r"]:
        signature = transit.sign_data(name, hash_input=encoded("m"))["data"]["signature"]
        for text, valid in [("m", True), ("n", False)]:
            same(transit.verify_signed_data(name, hash_input=encoded(text), signature=signature)["data"]["valid"], valid)
    code = transit.generate_hmac("a", hash_input=encoded("m"))["data"]["hmac"]
    same(transit.verify_signed_data("a", hash_input=encoded("m"), hmac=code)["data"]["valid"], True)
    same(len(base64.b64decode(transit.generate_random_bytes(n_bytes=24)["data"]["random_bytes"])), 24)
    same(transit.hash_data(encoded("x"), algorithm="sha2-256")["data"]["sum"][:8], "2d711642")
    key = transit.generate_data_key("a", key_type="plaintext")["data"]
    same(transit.decrypt_data("a", ciphertext=key["ciphertext"])["data"]["plaintext"], key["plaintext"])
    same(list(transit.export_key("x", key_type="encryption-key")["data"]["keys"]), ["1"])
    transit.update_key_configuration("x", allow_plaintext_backup=True)
    backup = transit.backup_key("x")["data"]["backup"]
    transit.restore_key(backup=backup, name="y")
    same(transit.read_key("y")["data"]["type"], "chacha20-poly1305")
    transit.delete_key("a")
    refused(exceptions.InvalidPath, transit.read_key, "a")


def policies():
    root.sys.create_or_update_policy("reader", 'path "two/data/open/*" { capabilities = ["read"] }')
    assert "reader" in root.sys.list_policies()["data"]["policies"]
    assert "two/data/open" in root.sys.read_policy("reader")["data"]["rules"]
    root.sys.create_or_update_acl_policy("writer", {"path": {"two/data/*": {"capabilities": ["create", "update"]}}})
    assert "writer" in root.sys.list_acl_policies()["data"]["keys"]
    root.secrets.kv.v2.create_or_update_secret("open/x", {"a": "b"}, mount_point="two")
    root.secrets.kv.v2.create_or_update_secret("shut/x", {"a": "b"}, mount_point="two")
    reader = client(root.auth.token.create(policies=["reader"])["auth"]["client_token"])
    read = reader.secrets.kv.v2.read_secret_version
    same(read("open/x", mount_point="two", raise_on_deleted_version=True)["data"]["data"], {"a": "b"})
    refused(exceptions.Forbidden, read, "shut/x", mount_point="two", raise_on_deleted_version=True)
    same(reader.sys.get_capabilities(["two/data/open/x"])["data"]["capabilities"], ["read"])
    same(root.sys.get_capabilities(["two/data/q"], token=reader.token)["data"]["capabilities"], ["deny"])
    root.sys.delete_acl_policy("writer")
    refused(exceptions.InvalidPath, root.sys.read_acl_policy, "writer")


def tokens():
    tokens = root.auth.token
    made = tokens.create(policies=["reader"], ttl="1h", explicit_max_ttl="2h", display_name="d", meta={"a": "b"}, num_uses=0)["auth"]
    assert made["renewable"] and made["policies"] == ["default", "reader"], made
    mine = client(made["client_token"])
    assert mine.is_authenticated() and not client("s.nosuchtoken").is_authenticated()
    about = mine.auth.token.lookup_self()["data"]
    same((about["display_name"], about["meta"], about["explicit_max_ttl"]), ("token-d", {"a": "b"}, 7200))
    same(mine.auth.token.renew_self(increment="30m")["auth"]["lease_duration"], 1800)
    same(tokens.lookup_accessor(made["accessor"])["data"]["accessor"], made["accessor"])
    assert made["accessor"] in tokens.list_accessors()["data"]["keys"]
    tokens.renew(made["client_token"])
    tokens.renew_accessor(made["accessor"])
    tokens.create_or_update_role("role", allowed_policies="reader", orphan=True, renewable=True, token_period="20m")
    same(tokens.list_roles()["data"]["keys"], ["role"])
    same(tokens.read_role("role")["data"]["token_period"], 1200)
    of_role = client(tokens.create(role_name="role", policies=["reader"])["auth"]["client_token"])
    same(of_role.auth.token.lookup_self()["data"]["orphan"], True)
    orphan = tokens.create_orphan(policies=["default"])["auth"]
    tokens.revoke_accessor(orphan["accessor"])
    refused((exceptions.Forbidden, exceptions.InvalidPath), tokens.lookup, orphan["client_token"])
    batch = client(tokens.create(type="batch", policies=["default"], ttl="1m")["auth"]["client_token"])
    same(batch.auth.token.lookup_self()["data"]["type"], "batch")
    few = client(tokens.create(policies=["default"], num_uses=2)["auth"]["client_token"])
    few.auth.token.lookup_self()
    few.auth.token.lookup_self()
    refused(exceptions.Forbidden, few.auth.token.lookup_self)
    of_role.auth.token.revoke_self()
    refused(exceptions.Forbidden, of_role.auth.token.lookup_self)
    tokens.revoke(made["client_token"])
    assert not mine.is_authenticated()
    tokens.delete_role("role")


def approle():
    root.sys.enable_auth_method("approle")
    approle = root.auth.approle
    approle.create_or_update_approle("app", token_policies=["reader"], token_ttl="20m", token_max_ttl="1h", secret_id_num_uses=2)
    same(approle.list_roles()["data"]["keys"], ["app"])
    same(approle.read_role("app")["data"]["token_policies"], ["reader"])
    role_id = approle.read_role_id("app")["data"]["role_id"]
    made = approle.generate_secret_id("app", metadata={"host": "h"})["data"]
    app = hvac.Client(url=ADDRESS)
    login = app.auth.approle.login(role_id=role_id, secret_id=made["secret_id"])["auth"]
    same((login["lease_duration"], login["metadata"]["role_name"], login["metadata"]["host"]), (1200, "app", "h"))
    same(app.token, login["client_token"])
    same(app.auth.token.renew_self()["auth"]["lease_duration"], 1200)
    same(approle.read_secret_id("app", made["secret_id"])["data"]["secret_id_num_uses"], 1)
    same(approle.read_secret_id_accessor("app", made["secret_id_accessor"])["data"]["secret_id_num_uses"], 1)
    same(approle.list_secret_id_accessors("app")["data"]["keys"], [made["secret_id_accessor"]])
    hvac.Client(url=ADDRESS).auth.approle.login(role_id=role_id, secret_id=made["secret_id"])
    refused(exceptions.InvalidRequest, hvac.Client(url=ADDRESS).auth.approle.login, role_id=role_id, secret_id=made["secret_id"])
    approle.update_role_id("app", "chosen")
    own = approle.create_custom_secret_id("app", "own-secret")["data"]
    same(own["secret_id"], "own-secret")
    hvac.Client(url=ADDRESS).auth.approle.login(role_id="chosen", secret_id="own-secret")
    approle.destroy_secret_id_accessor("app", own["secret_id_accessor"])
    refused(exceptions.InvalidRequest, hvac.Client(url=ADDRESS).auth.approle.login, role_id="chosen", secret_id="own-secret")
    wrapped = approle.generate_secret_id("app", wrap_ttl="1m")
    assert hvac.Client(url=ADDRESS, token=ROOT).sys.unwrap(wrapped["wrap_info"]["token"])["data"]["secret_id"]
    approle.delete_role("app")


def userpass():
    root.sys.enable_auth_method("userpass")
    users = root.auth.userpass
    users.create_or_update_user("ann", password="first", policies="reader")
    same(users.list_user()["data"]["keys"], ["ann"])
    same(users.read_user("ann")["data"]["token_policies"], ["reader"])
    ann = hvac.Client(url=ADDRESS)
    same(ann.auth.userpass.login("ann", "first")["auth"]["metadata"], {"username": "ann"})
    assert ann.is_authenticated()
    refused(exceptions.InvalidRequest, hvac.Client(url=ADDRESS).auth.userpass.login, "ann", "wrong")
    users.update_password_on_user("ann", "second")
    hvac.Client(url=ADDRESS).auth.userpass.login("ann", "second")
    users.delete_user("ann")
    refused(exceptions.InvalidRequest, hvac.Client(url=ADDRESS).auth.userpass.login, "ann", "second")


def wrapping():
    token = root.sys.wrap(payload={"a": "b"}, ttl=60)["wrap_info"]["token"]
    same(root.write("sys/wrapping/lookup", token=token)["data"]["creation_path"], "sys/wrapping/wrap")
    again = root.write("sys/wrapping/rewrap", token=token)["wrap_info"]["token"]
    same(hvac.Client(url=ADDRESS, token=again).sys.unwrap()["data"], {"a": "b"})
    refused((exceptions.InvalidRequest, exceptions.Forbidden), hvac.Client(url=ADDRESS, token=again).sys.unwrap)
    read = root.read("two/data/open/x", wrap_ttl="30s")
    same(root.sys.unwrap(read["wrap_info"]["token"])["data"]["data"], {"a": "b"})
    login = root.auth.token.create(policies=["default"], wrap_ttl="30s")
    token = hvac.Client(url=ADDRESS, token=login["wrap_info"]["token"]).sys.unwrap()["auth"]["client_token"]
    assert client(token).is_authenticated()


def leases():
    """Logins have leases too; those are what there is without an engine that makes accounts elsewhere."""
    user = hvac.Client(url=ADDRESS)
    root.auth.userpass.create_or_update_user("ben", password="p", policies="default")
    user.auth.userpass.login("ben", "p")
    short = client(root.auth.token.create(policies=["default"], ttl="1s", renewable=False)["auth"]["client_token"])
    deadline = time.time() + 20
    while short.is_authenticated():
        assert time.time() < deadline, "a token does not end"
        time.sleep(0.1)
    refused(exceptions.InvalidRequest, root.sys.renew_lease, lease_id="auth/userpass/login/ben/nosuchlease")
    refused(exceptions.InvalidRequest, root.sys.read_lease, lease_id="auth/userpass/login/ben/nosuchlease")
    root.sys.revoke_prefix("auth/userpass/login")
    deadline = time.time() + 20
    while user.is_authenticated():
        assert time.time() < deadline, "a login is not taken back"
        time.sleep(0.1)


def system():
    assert root.sys.is_initialized() and not root.sys.is_sealed()
    same(root.sys.read_health_status(method="GET")["sealed"], False)
    same(root.sys.read_health_status().status_code, 200)
    assert root.sys.read_seal_status()["type"] == "shamir"
    root.sys.read_leader_status()
    mounts = root.sys.list_mounted_secrets_engines()["data"]
    same((mounts["one/"]["type"], mounts["two/"]["options"]), ("kv", {"version": "2"}))
    root.sys.tune_mount_configuration("one", default_lease_ttl="30m", max_lease_ttl="40m", description="d")
    same(root.sys.read_mount_configuration("one")["data"]["default_lease_ttl"], 1800)
    root.secrets.kv.v1.create_or_update_secret("moved", {"a": "b"}, mount_point="one")
    root.sys.move_backend("one", "elsewhere")
    deadline = time.time() + 20
    while "elsewhere/" not in root.sys.list_mounted_secrets_engines()["data"]:
        assert time.time() < deadline, "a mount is not moved"
        time.sleep(0.1)
    same(root.secrets.kv.v1.read_secret("moved", mount_point="elsewhere")["data"], {"a": "b"})
    root.sys.disable_secrets_engine("elsewhere")
    assert "elsewhere/" not in root.sys.list_mounted_secrets_engines()["data"]
    root.sys.enable_auth_method("userpass", path="others", description="o")
    same(root.sys.list_auth_methods()["data"]["others/"]["type"], "userpass")
    root.sys.tune_auth_method("others", default_lease_ttl="10m")
    same(root.sys.read_auth_method_tuning("others")["data"]["default_lease_ttl"], 600)
    root.sys.disable_auth_method("others")
    before = root.sys.get_encryption_key_status()["data"]["term"]
    root.sys.rotate_encryption_key()
    same(root.sys.get_encryption_key_status()["data"]["term"], before + 1)


for part in [kv1, kv2, transit, policies, tokens, approle, userpass, wrapping, leases, system]:
    part()
    print(part.__name__)
