# ruff: noqa: E501 - samples
"""What redaction must hide, and what it must leave alone. All secrets are made up here, none was ever in use."""

from __future__ import annotations

import base64
import random
import string
from typing import Final
from urllib.parse import quote

_random: Final = random.Random(20)  # noqa: S311 - the same samples in each run

ALNUM: Final = string.ascii_letters + string.digits
UPPER: Final = string.ascii_uppercase + string.digits
HEX: Final = "0123456789abcdef"


def made(start: str, length: int, letters: str = ALNUM) -> str:
    """Return a token that begins with `start`; it has a digit and letters of both cases where `letters` allow."""
    body = "".join(_random.choice(letters) for _ in range(length - 3))
    return f"{start}{body}{'A9b' if letters is ALNUM else '7' * 3}"


TOKENS: Final[tuple[str, ...]] = (
    *(made(start, 16, UPPER) for start in ("AKIA", "ASIA")),
    *(made(f"gh{kind}_", 36) for kind in "pousr"),
    made("github_pat_", 60),
    *(made(start, 20) for start in ("glpat-", "gldt-", "glrt-", "glptt-")),
    *(made(f"xox{kind}-", 40) for kind in "bpas"),
    made("xapp-1-", 40),
    made("AIza", 35),
    made("ya29.", 50),
    made("GOCSPX-", 28),
    *(made(start, 24) for start in ("sk_live_", "sk_test_", "rk_live_", "whsec_")),
    *(
        made(start, 40)
        for start in ("sk-ant-api03-", "sk-proj-", "sk-", "gsk_", "xai-", "nvapi-", "pplx-", "tvly-")
    ),
    made("hf_", 34, string.ascii_letters),
    made("r8_", 37),
    made("npm_", 36),
    made("pypi-AgEIcHlwaS5vcmc", 60),
    made("rubygems_", 48, HEX),
    made("dckr_pat_", 27),
    made("dop_v1_", 64, HEX),
    made("dapi", 32, HEX),
    made("hvs.", 24),
    f"{made('SG.', 22)}.{made('', 43)}",
    made("shpat_", 32, HEX),
    made("sq0atp-", 22),
    made("lin_api_", 40),
    made("sntrys_", 60),
    made("NRAK-", 27, UPPER),
    made("lsv2_pt_", 32, HEX),
    made("ATATT3xFfGF0", 60),
    made("AGE-SECRET-KEY-1", 58, UPPER),
    f"{made('eyJ', 33)}.{made('eyJ', 60)}.{made('', 43)}",
)
"""Tokens that are known by their shape, wherever they stand."""

PASSWORDS: Final = (
    "hunter2", "Tr0ub4dor&3", "correct-horse-9", "p@ss:w/rd!", "swordfish1", "Zaq12wsx", "s3cr3t#Value", "x9$kL2,mN",
    "a+b=c9", "Qwerty;uiop1", "пароль123", "naïve-Pass1",
)  # fmt: skip

_FRAMES: Final = (
    "token {} in a sentence", "{}", "got {}, trying", "x={}", "({})", '"{}"', "https://host/path?t={}", "a\n{}\nb", "[{}]",
    "key:{}",
)  # fmt: skip

_JSON_SAFE: Final = "Tr0ub4dor3x"
_ASSIGNMENTS: Final = (
    "password={}", "login failed: password={} user=bob", "PASSWORD={}", "db_password: {}", "DB_PASSWORD='{}'",
    '{{"password": "{}"}}', "{{'password': '{}'}}", '{{"user": "bob", "passwd":"{}", "n": 1}}', '{{\\"password\\": \\"{}\\"}}',
    "Config(user='bob', password='{}')", "--password {}", "--password={}", "mysql --db-password {} --host h",
    "<password>{}</password>", "export API_KEY={}", "api_key={}", "apiKey: '{}'", "x-api-key: {}", "X-Api-Key={}",
    "client_secret={}&grant_type=code", "clientSecret = {}", "secret: {}", "aws_secret_access_key = {}",
    "AccountKey={};EndpointSuffix=core", "SharedAccessKey={}", "access_token={}", '"refresh_token": "{}"', "auth_token={}",
    "passphrase={}", "PGPASSWORD={} psql -h db", "private_key='{}'", "encryption_key={}", "password => {}", "password := {}",
    "password='{}', host='h'", "cfg['password'] = '{}'", 'cfg["secret"]="{}"', "('password', '{}')", "pwd={};uid=sa",
    "Pwd={};Server=x", "host=h dbname=d password={} user=u", "ALTER ROLE bob PASSWORD '{}'",
    "CREATE USER bob IDENTIFIED BY '{}'", "Authorization: Bearer {}0000", "authorization: Token {}", "Proxy-Authorization: {}",
    "Cookie: session={}; theme=dark", "Set-Cookie: sid={}; HttpOnly", "jwt: {}", "user_credentials={}", "signing_key={}",
    "api key: {}", "new_password={}", "password2={}", "password_confirm={}", "userPassword={}", "token={}", "TOKEN: {}",
    "curl -u bob:{} https://h/", "curl --user bob:{} https://h/", "headers={{'X-Auth-Token': '{}'}}", "password: str = '{}'",
    "credential={}", "webhook_secret={}", "export SECRET_KEY={}", "access_key: {}", "password={}\nnext line", "pass: x\npassword: {}",
    "master_key={}", "stripe_key: {}", "storage_key={}", "bearer_token={}", "id_token={}", "session_token={}",
)  # fmt: skip

_ADDRESSES: Final = (
    "postgresql://bob:{}@db.example.com:5432/app", "redis://:{}@cache:6379/0", "amqp://guest:{}@rabbit//",
    "connect to mongodb+srv://u:{}@cluster0.x.net/?retry=1 failed", "https://user:{}@example.com/x", "ftp://a:{}@h",
    "url='postgres://a:{}@h/d'", '{{"dsn": "mysql://a:{}@h/d"}}', "clone https://oauth2:{}@gitlab.com/a/b.git",
    "http://proxy-user:{}@proxy:3128", "postgres:\\/\\/a:{}@h\\/d", "x%3A%2F%2Fa%3A{}%40h/d",
)  # fmt: skip

_PEM_LINE: Final = made("MIIEpAIBAAKCAQEA", 48)


def _secret_samples() -> list[tuple[str, str]]:
    samples = [
        (_FRAMES[place % len(_FRAMES)].format(token), token)
        for place, token in enumerate(TOKENS)
    ]  # fmt: skip
    samples += [(frame.format(token), token) for frame in _FRAMES for token in TOKENS[2:4]]
    samples += [(form.format(_JSON_SAFE), _JSON_SAFE) for form in _ASSIGNMENTS]
    samples += [(f"password={password}", password) for password in PASSWORDS]
    samples += [(f'{{"password": "{password}"}}', password) for password in PASSWORDS]
    samples += [
        (f"postgres://u:{quote(password, safe='')}@h/d", quote(password, safe="")) for password in PASSWORDS
    ]
    samples += [(form.format("Tr0ub4dor3x"), "Tr0ub4dor3x") for form in _ADDRESSES]
    basic = base64.b64encode(b"bob:Tr0ub4dor3x").decode()
    samples += [(f"Authorization: Basic {basic}", basic), (f"sent Basic {basic} to it", basic)]
    for kind in ("RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""):
        samples.append(
            (f"-----BEGIN {kind}PRIVATE KEY-----\n{_PEM_LINE}\n-----END {kind}PRIVATE KEY-----", _PEM_LINE)
        )
    samples.append((f"-----BEGIN PRIVATE KEY-----\\n{_PEM_LINE}\\n", _PEM_LINE))
    samples.append((f"hooks.slack.com/services/T0001/B0001/{_PEM_LINE}", _PEM_LINE))
    samples.append((f"https://discord.com/api/webhooks/123456789/{_PEM_LINE}", _PEM_LINE))
    samples.append((f"https://s.blob.core/x?sv=2&sig={_PEM_LINE}&se=1", _PEM_LINE))
    samples.append((f"https://b.s3.aws/x?X-Amz-Signature={'0a1b' * 16}", "0a1b" * 16))
    samples.append(("bob:Tr0ub4dor3x@tcp(db:3306)/app", "Tr0ub4dor3x"))
    samples.append((f"https://api.telegram.org/bot123456789:AA{_PEM_LINE[:33]}/x", _PEM_LINE[:33]))
    samples.append((f"key\\nghp_{'a1B2' * 9}", "a1B2a1B2a1"))
    samples.append((r"\u0067\u0068\u0070_" + "a1B2" * 9, "a1B2a1B2"))
    samples.append(("gh%70_" + "a1B2" * 9, "a1B2a1B2"))
    return samples


SECRETS: Final = _secret_samples()
"""Texts, each with what must not be left of it."""

HARMLESS: Final[tuple[str, ...]] = tuple(
    line
    for line in r"""
epoch 12 done: loss 0.12345, accuracy 0.98 in 12.4 s (3 batches)
processed 1,200 tokens per second
tokens: 4096
max_tokens=512 temperature=0.7
token_count=77, n_tokens: 12
eos_token='</s>' bos_token='<s>' pad_token=[PAD]
unk_token: [UNK]
next_token = model(x)
token 5 of 10
Unexpected token '<' in JSON at position 0
SyntaxError: invalid token (line 3)
tokenizer loaded in 0.2 s
token_type: bearer
page_token=None
the token has expired
token: expired
token expired, refreshing
invalid token
no secret here
the secret of success is patience
Secretary: Ms. Jones
secrets are kept elsewhere
password required
password: required
Enter password:
password must have at least 8 characters
Password: invalid
wrong password for user bob
password=None
password=****
password=********
password=${DB_PASSWORD}
password=$DB_PASSWORD
password={{ vault.password }}
password=%(password)s
password=%s
password: <password>
password=<hidden>
password = os.environ["DB_PASSWORD"]
password = getpass.getpass()
password=settings.password
token = get_token(user)
api_key=api_key
api_key = self.api_key
    def login(self, password: str, token: str | None = None) -> None:
    conn = connect(host, password=password)
    raise ValueError("password is missing")
KeyError: 'password'
KeyError: 'api_key'
KeyError: "token"
TypeError: login() got an unexpected keyword argument 'password'
columns: ['id', 'user', 'password', 'email']
use --password to give one
--password-file /run/secrets/db
password_file=/run/secrets/db
password_length=12
password_reset_url=https://example.com/reset
passwordless login for bob
primary_key=id
primary key: id, name
foreign_key: orders.customer_id
partition_key=customer_id
sort_key=timestamp
cache_key=users:42
cache key: users:42
public_key=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
key=value
key: value
keys: 12
keyword='abc123'
monkey=banana1
keyboard: us-intl
the key to it is 42
Press any key to continue
hockey=Team1
cookie accepted
cookies: 12
cookie_count=3
author: Bob Smith
authority=example.com
authorized users: 12
authorization required
Authorization: required
authentication failed for user bob
basic usage of the tool
Basic information about it
the bearer of this letter
bearer token missing
bearer authentication required
https://example.com/a/b?c=d&e=f#g
https://user@example.com/x
https://example.com:8080/path
http://localhost:4318/v1/traces
postgresql://db.example.com:5432/app
postgresql://bob@db.example.com/app
postgres://host:5432/db?user=a
ssh://git@github.com/a/b.git
git@github.com:org/repo.git
mail bob@example.com about it
s3://bucket/key/part-0001.parquet
redis://cache:6379/0
file:///home/bob/data.csv
mailto:bob@example.com
@app.route("/users/<id>")
@dataclass(frozen=True)
user@host:~/work$ ls -la
550e8400-e29b-41d4-a716-446655440000
commit 5daeae4b1c0f2a7de8f6c59be1a90c2d4f3b7e61
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
d41d8cd98f00b204e9800998ecf8427e  file.txt
trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7
0x7f3a5c0012a0
2024-05-01T12:00:00.123456+00:00
192.168.1.10:5432
fe80::1ff:fe23:4567:890a
10.0.0.0/8
C:\Users\bob\AppData\Local
/home/bob/.ssh/id_rsa
/usr/lib/python3.11/site-packages/x.py
PWD=/home/bob/work
OLDPWD=/tmp
~/.config/app/token.json
~/.aws/credentials
reading secrets.yaml
loaded token.py
module secret_sharing imported
from secrets import token_hex
import secrets
secrets.token_urlsafe(16)
task-processing-of-large-files-in-parallel
disk-usage-of-the-whole-machine-today
sk-learn is not the name
risk-adjusted-return-on-capital-2024
mask_live_region
hf_hub_download took 3 s
ghp_ is how they begin
the AKIA prefix
AIza
eyJ is how a JWT begins
npm_config_registry=https://registry.example.com
gh_actions_runner
xoxo
-----BEGIN CERTIFICATE-----
-----BEGIN PUBLIC KEY-----
-----END PRIVATE KEY-----
loss=0.123 lr=1e-4 step=1200
batch 3/10 [=====>     ] 30%
100%|##########| 10/10 [00:01<00:00,  9.87it/s]
GET /api/v1/users?page=2&limit=50 200 12ms
POST /login 401 Unauthorized
SELECT id, password FROM users WHERE id = $1
INSERT INTO t (token, n) VALUES ($1, $2)
ALTER TABLE users ADD COLUMN api_key text
{"level": "info", "msg": "done", "n": 5}
{"token_usage": {"prompt": 12, "completion": 7}}
{"password": null, "secret": ""}
{"password": "********"}
{"has_password": true}
{"keys": ["a", "b"], "key": "abc"}
Traceback (most recent call last):
  File "/app/auth/token.py", line 12, in refresh_token
    return client.get(url, headers=self.headers)
ValueError: could not convert string to float: 'abc'
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
ConnectionRefusedError: [Errno 111] Connection refused
psycopg.OperationalError: connection failed: FATAL: password authentication failed for user "bob"
curl https://example.com/x -o y
curl -u $USER:$PASS https://h/
docker run -u 1000:1000 image
chmod 0600 secret.txt
done: 50% of it, 80%ready
%20 is a space
a\u00e4b is an umlaut
path\/to\/x
He said: "the password is in the vault"
How to reset a password: see the manual
signature: def f(a, b)
?code=200
a & b ? c : d
user_token_limit=5
requests per token: 5
sub_token=##ing
special_tokens=['<a>', '<b>']
tokens=['hello', 'world']
token='hello'
credential helper: store
credentials loaded from file
no credentials found
aws_region=eu-west-1 bucket=data
AWS_PROFILE=prod
key_id=5
access key rotated
api key missing
secret_name=db-main
private key file: /etc/ssl/key.pem
jwt expired
пароль неверный
密码错误
emoji 🎉 done
[redacted]
password=[redacted]
postgres://bob:[redacted]@db/app
""".splitlines()
    if line.strip()
)
"""Texts of which nothing may be hidden."""
