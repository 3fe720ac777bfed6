"""What HAProxy and nginx are configured with in front of presque: plain or with TLS, on either side."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {options}
frontend front
    bind 127.0.0.1:{port} {ssl}
    default_backend back
backend back
    server presque 127.0.0.1:{target} {target_ssl}
"""
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream presque {{ server 127.0.0.1:{target}; {upstream} }}
    server {{ listen 127.0.0.1:{port} {ssl}; location / {{ proxy_pass {scheme}://presque; {options} }} }}
}}
"""
KEEPS = 'proxy_http_version 1.1; proxy_set_header Connection "";'


def proxy_command(
    kind: str,
    folder: Path,
    port: int,
    target: int,
    options: str = "",
    *,
    certificate: Path | None = None,
    is_far_tls: bool = False,
) -> list[str]:
    """Write the configuration of a proxy on `port` in front of `target`, and return the command that runs it. With a
    `certificate` it speaks TLS to clients; `is_far_tls`: it speaks TLS to presque.
    """
    if not shutil.which(kind):
        raise RuntimeError(f"{kind} is not installed")
    values = {"folder": folder, "port": port, "target": target, "options": options}
    path = folder / "proxy.conf"
    if kind == "haproxy":
        values["ssl"] = f"ssl crt {certificate}" if certificate else ""
        values["target_ssl"] = "ssl verify none" if is_far_tls else ""
        path.write_text(HAPROXY.format(**values))
        return ["haproxy", "-db", "-f", str(path)]
    values["ssl"] = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
    values["scheme"] = "https" if is_far_tls else "http"
    values["upstream"] = "keepalive 16;" if options == KEEPS else ""
    path.write_text(NGINX.format(**values))
    return ["nginx", "-p", str(folder), "-c", str(path)]
