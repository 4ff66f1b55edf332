// Wrong settings: the process ends at once, not with 0, and says which setting, what it found and what it expects.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort } from '../lib/ports.mjs';
import { Server, flavor, launch, temporaryDirectory } from '../lib/server.mjs';
import { PATIENCE_MS } from '../lib/wait.mjs';

const SECRET = 'do-not-print-this-secret';

const WRONG = [
  { name: 'PORT', found: 'many', expects: /expected.*65535/ },
  { name: 'PORT', found: '70000', expects: /65535/ },
  { name: 'HAPPIER_IO_DRIVER', found: 'kqueue', expects: /auto.*uring.*epoll/is },
  { name: 'HAPPIER_CORES', found: '0', expects: /1|positive|at least|greater/i },
  { name: 'HAPPIER_LOG', found: 'loudly', expects: /error.*warn.*info.*debug/is },
  { name: 'HAPPIER_RATE_LIMITS', found: 'perhaps', expects: /on.*off/is },
  { name: 'HAPPIER_SOCKET_PAYLOAD_BYTES_MAX', found: '-5', expects: /number|integer|bytes/i },
  { name: 'HAPPIER_GITHUB_URL', found: 'github.com', expects: /address such as https:/ },
  { name: 'HAPPIER_CALL_TIMEOUT_MS', found: '0', expects: /positive number of milliseconds/ },
  { name: 'METRICS_PORT', found: 'x', expects: /number|integer|65535/i, settings: { METRICS_ENABLED: 'true' } },
];

let server;
before(async () => {
  server = await Server.start();
});
after(() => server.terminate());

/** Settings with which a server of this flavor would start. */
function good() {
  if (flavor === 'light') return { PORT: '0', HAPPY_SERVER_LIGHT_DATA_DIR: join(temporaryDirectory('data'), 'data') };
  return { PORT: '0', ...server.storage };
}

async function fails(args, settings) {
  const child = launch(args, settings);
  const { code, signal } = await child.finished(PATIENCE_MS);
  assert.equal(signal, null, `ended by ${signal}: ${child.output}`);
  assert.notEqual(code, 0, child.output);
  assert.doesNotMatch(child.output, /panicked|RUST_BACKTRACE/);
  assert.ok(!child.output.includes(SECRET), 'a secret is printed');
  return { code, output: child.output };
}

for (const { name, found, expects, settings } of WRONG) {
  test(`${name}=${found}`, async () => {
    const { output } = await fails([flavor], { ...good(), ...settings, [name]: found });
    assert.ok(output.includes(name), `the setting is not named: ${output}`);
    assert.ok(output.includes(found), `what was found is not shown: ${output}`);
    assert.match(output, expects);
  });
}

test('an unknown subcommand is a usage error', async () => {
  const { code, output } = await fails(['heavy'], good());
  assert.equal(code, 2);
  assert.match(output, /heavy/);
  assert.match(output, /light.*full|full.*light/s);
});

test('--help and --version end with 0', async () => {
  for (const [flag, pattern] of [['--help', /DATABASE_URL/], ['--version', /\d+\.\d+\.\d+/]]) {
    const child = launch([flag], {});
    assert.equal((await child.finished(PATIENCE_MS)).code, 0, child.output);
    assert.match(child.output, pattern);
  }
});

test('a port in use', async () => {
  const holder = net.createServer();
  await new Promise((resolve) => holder.listen(0, '0.0.0.0', resolve));
  const port = String(holder.address().port);
  const { output } = await fails([flavor], { ...good(), PORT: port });
  assert.ok(output.includes(port), output);
  holder.close();
});

if (flavor === 'light') {
  test('a data directory that another process uses', async () => {
    const { output } = await fails(['light'], { PORT: '0', ...server.storage });
    assert.ok(output.includes(server.storage.HAPPY_SERVER_LIGHT_DATA_DIR), output);
    assert.ok(output.includes(String(server.child.pid)), `the other process is not named: ${output}`);
    assert.equal((await fetch(`${server.url}/health`)).status, 200);
  });

  test('a data directory that cannot be made', async () => {
    const file = join(temporaryDirectory('file'), 'file');
    writeFileSync(file, 'not a directory');
    const { output } = await fails(['light'], { PORT: '0', HAPPY_SERVER_LIGHT_DATA_DIR: join(file, 'data') });
    assert.ok(output.includes(join(file, 'data')), output);
  });
}

if (flavor === 'full') {
  const secret = { HANDY_MASTER_SECRET: SECRET };
  test('no database', async () => {
    const { output } = await fails(['full'], { PORT: '0', ...secret });
    assert.match(output, /DATABASE_URL/);
  });

  test('an address that is no Postgres URL', async () => {
    const { output } = await fails(['full'], { PORT: '0', ...secret, DATABASE_URL: `mysql://user:${SECRET}@127.0.0.1/db` });
    assert.match(output, /DATABASE_URL/);
    assert.match(output, /postgres/i);
  });

  test('nobody at the address of the database', async () => {
    const port = await freePort();
    const url = `postgresql://user:${SECRET}@127.0.0.1:${port}/db?connect_timeout=2`;
    const { output } = await fails(['full'], { PORT: '0', ...secret, DATABASE_URL: url });
    assert.ok(output.includes(String(port)) || output.includes('DATABASE_URL'), output);
  });

  for (const value of [undefined, '']) {
    test(`the master secret is ${value === undefined ? 'missing' : 'empty'}`, async () => {
      const { HANDY_MASTER_SECRET, ...rest } = good();
      const { output } = await fails(['full'], value === undefined ? rest : { ...rest, HANDY_MASTER_SECRET: value });
      assert.match(output, /HANDY_MASTER_SECRET/);
    });
  }
}
