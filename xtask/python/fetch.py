"""Takes one file from a simple index, or one page to see that it answers.

    reach INDEX
    file INDEX PROJECT FILE SHA256 DESTINATION
"""

import base64
import hashlib
import html.parser
import os
import re
import ssl
import sys
import urllib.parse
import urllib.request


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = {}

    def handle_starttag(self, tag, attributes):
        href = dict(attributes).get("href")
        if tag == "a" and href:
            path = urllib.parse.urlsplit(href).path
            self.found[urllib.parse.unquote(path.rsplit("/", 1)[-1])] = href


def certificates():
    for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"):
        if os.environ.get(name):
            return os.environ[name]
    return None


CONTEXT = ssl.create_default_context(cafile=certificates())


def get(url):
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": "text/html"}
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120, context=CONTEXT) as answer:
        return answer.geturl(), answer.read()


def page(index, project):
    return get(f"{index}/{re.sub('[-_.]+', '-', project).lower()}/")


def fetch(index, project, name, sha256, destination):
    url, text = page(index, project)
    links = Links()
    links.feed(text.decode())
    if name not in links.found:
        sys.exit(f"the index page of {project} does not list {name}")
    _, contents = get(urllib.parse.urljoin(url, links.found[name]).partition("#")[0])
    if hashlib.sha256(contents).hexdigest() != sha256:
        sys.exit(f"{name} has the digest {hashlib.sha256(contents).hexdigest()}, not {sha256}")
    partial = f"{destination}.{os.getpid()}"
    with open(partial, "wb") as file:
        file.write(contents)
    os.replace(partial, destination)


if sys.argv[1] == "reach":
    page(sys.argv[2], "pip")
else:
    fetch(*sys.argv[2:])
