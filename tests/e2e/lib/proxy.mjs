// Real proxies with the configuration that docs/deploy.md shows: only addresses, ports and certificates are ours.
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from './certificate.mjs';
import { freePort } from './ports.mjs';
import { Child } from './process.mjs';
import { temporaryDirectory } from './server.mjs';
import { PATIENCE_MS, until } from './wait.mjs';

const GUIDE = fileURLToPath(new URL('../../../docs/deploy.md', import.meta.url));

/** The file of that path as the guide shows it: the code block that begins with its name. */
export function documented(path) {
  const blocks = readFileSync(GUIDE, 'utf8').matchAll(/^```\w+\n([^]*?)^```$/gm);
  const found = [...blocks].map(([, text]) => text).filter((text) => text.startsWith(`# ${path}\n`));
  if (found.length !== 1) throw new Error(`docs/deploy.md shows ${path} ${found.length} times`);
  return found[0];
}

/** Replaces every occurrence; one that is not there means that guide and test have parted. */
function substitute(text, replacements) {
  for (const [from, to] of Object.entries(replacements)) {
    if (!text.includes(from)) throw new Error(`docs/deploy.md does not say ${from} any more`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const addresses = (servers) => Object.fromEntries(servers.map(({ port }, n) => [`10.0.0.${11 + n}:3005`, `127.0.0.1:${port}`]));

export class Proxy {
  static async start(name, replicas) {
    const proxy = new Proxy();
    proxy.dir = temporaryDirectory(name);
    proxy.port = await freePort();
    proxy.url = `https://127.0.0.1:${proxy.port}`;
    proxy.files = await makeCertificate(proxy.dir);
    proxy.authority = readFileSync(proxy.files.authority, 'utf8');
    proxy.child = START[name](proxy, replicas);
    await until(() => proxy.child.ended !== null || proxy.accepts(), 'accepting connections', PATIENCE_MS);
    if (proxy.child.ended) throw new Error(`${name} did not start:\n${proxy.child.output}`);
    return proxy;
  }

  path(name) {
    return join(this.dir, name);
  }

  accepts() {
    return new Promise((resolve) => {
      const socket = net.connect(this.port, '127.0.0.1', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
  }

  async stop() {
    this.child.signal('SIGTERM');
    await this.child.finished(PATIENCE_MS);
  }
}

/** The whole of nginx around a file for conf.d. */
function nginx(proxy, file, replacements) {
  const site = substitute(documented(file), {
    'listen 443 ssl': `listen 127.0.0.1:${proxy.port} ssl`,
    '/etc/ssl/happier.example.pem': proxy.files.certificate,
    '/etc/ssl/happier.example.key': proxy.files.key,
    ...replacements,
  });
  writeFileSync(proxy.path('site.conf'), site);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${proxy.path(what)};`);
  const user = process.getuid() === 0 ? 'user root;' : '';
  writeFileSync(proxy.path('nginx.conf'), `daemon off; ${user} pid ${proxy.path('pid')}; error_log stderr warn; worker_processes 2;
    events { worker_connections 1024; }
    http { access_log off; ${temporary.join(' ')} include ${proxy.path('site.conf')}; }\n`);
  const env = { PATH: `${process.env.PATH}:/usr/sbin` };
  return new Child('nginx', ['-p', proxy.dir, '-e', 'stderr', '-c', proxy.path('nginx.conf')], { cwd: proxy.dir, env });
}

function haproxy(proxy, replicas) {
  const text = substitute(documented('/etc/haproxy/haproxy.cfg'), {
    'bind :443 ssl': `bind 127.0.0.1:${proxy.port} ssl`,
    '/etc/ssl/happier.example.both.pem': proxy.files.both,
    ...addresses(replicas),
  });
  writeFileSync(proxy.path('haproxy.cfg'), text);
  const env = { PATH: `${process.env.PATH}:/usr/sbin` };
  return new Child('haproxy', ['-db', '-W', '-f', proxy.path('haproxy.cfg')], { cwd: proxy.dir, env });
}

const START = {
  nginx: (proxy, replicas) => nginx(proxy, '/etc/nginx/conf.d/happier.conf', addresses(replicas)),
  'nginx-light': (proxy, [server]) => nginx(proxy, '/etc/nginx/conf.d/happier-light.conf', { '127.0.0.1:3005': `127.0.0.1:${server.port}` }),
  haproxy,
};
