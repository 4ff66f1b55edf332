// The server goes away and comes back: by signal, orderly and fast; clients come back by themselves.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling, WEBSOCKET, delivered, destroySockets, held, openSession, untilEnd } from '../lib/engineio.mjs';
import { SHUTDOWN_LIMIT_MS, Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

afterEach(() => {
  closeDevices();
  destroySockets();
});

async function withServer(action) {
  const server = await Server.start();
  try {
    await action(server);
  } finally {
    if (server.alive) await server.kill();
  }
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} ends the process with code 0, clients see a lost transport and come back`, () =>
    withServer(async (server) => {
      const account = await Account.login(server);
      const session = await account.session();
      const devices = await Promise.all([
        account.device({ reconnection: true }).ready(),
        account.device({ reconnection: true, transports: ['polling'] }).ready(),
        account.device({ reconnection: true, transports: ['polling', 'websocket'] }).ready(),
      ]);
      assert.equal((await devices[0].send(session, 'before')).ok, true);
      const { code, signal: by, ms } = await server.terminate(signal);
      assert.deepEqual({ code, by }, { code: 0, by: null }, server.child.output);
      assert.ok(ms < SHUTDOWN_LIMIT_MS, `took ${ms} ms`);
      for (const device of devices) {
        await until(() => device.disconnects.length > 0, 'disconnected');
        assert.match(device.disconnects[0], /^transport (close|error)$/);
      }
      await server.resume();
      for (const device of devices) await until(() => device.connects >= 2 && device.socket.connected, 'connected again');
      await Promise.all(devices.map((device) => device.fence()));
      assert.equal((await devices[1].send(session, 'after')).seq, 2);
      await until(() => devices[0].texts.includes('after') && devices[2].texts.includes('after'), 'told after the restart');
      assert.deepEqual((await account.messages(session)).map((m) => m.content.c), ['before', 'after']);
      devices.forEach((device) => device.close());
      await server.terminate();
    }));
}

test('the farewell: an empty close frame, a close packet on the waiting poll, no DISCONNECT', () =>
  withServer(async (server) => {
    const { token } = await Account.login(server);
    const http = new Http(server);
    const socket = await openSession(server, token);
    const polling = await Polling.open(http, token);
    const { answer } = await held(server, polling);
    const ending = server.terminate();
    assert.deepEqual(await untilEnd(socket), ['close no code', 'ended']);
    assert.equal((await answer).text, '1');
    assert.equal((await ending).code, 0);
    http.close();
  }));

test('a request in flight at SIGTERM is answered', () =>
  withServer(async (server) => {
    const account = await Account.login(server);
    const session = await account.session();
    const writes = Array.from({ length: 50 }, (_, i) =>
      account.request('POST', `/v2/sessions/${session}/messages`, { ciphertext: `text ${i}`, localId: `l${i}` }).catch((error) => ({ error })));
    await Promise.race(writes);
    assert.equal((await server.terminate()).code, 0);
    const acknowledged = (await Promise.all(writes)).filter((answer) => answer.status === 200).map((answer) => answer.body.message);
    assert.ok(acknowledged.length > 0);
    await server.resume();
    const stored = new Map((await account.messages(session)).map((m) => [m.id, m.seq]));
    for (const { id, seq } of acknowledged) assert.equal(stored.get(id), seq, 'acknowledged and still there');
    await server.terminate();
  }));

test('nobody waits for the rest of a request that may never come', () =>
  withServer(async (server) => {
    await delivered(server, 'POST /v1/auth HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n');
    const { code, ms } = await server.terminate();
    assert.equal(code, 0);
    assert.ok(ms < SHUTDOWN_LIMIT_MS, `took ${ms} ms`);
  }));

test('after kill -9 clients come back, tokens and data are still good', () =>
  withServer(async (server) => {
    const account = await Account.login(server);
    const session = await account.session();
    const devices = await Promise.all([
      account.device({ reconnection: true }).ready(),
      account.device({ reconnection: true, transports: ['polling'] }).ready(),
    ]);
    assert.equal((await devices[0].send(session, 'before')).ok, true);
    await server.kill();
    await server.resume();
    for (const device of devices) await until(() => device.connects >= 2 && device.socket.connected, 'connected again');
    assert.equal((await devices[1].send(session, 'after')).seq, 2);
    await until(() => devices[0].texts.includes('after'), 'told after the restart');
  }));

test('new connections are refused while the old ones are closed, and the port is free afterwards', () =>
  withServer(async (server) => {
    await server.terminate();
    await assert.rejects(fetch(`${server.url}/health`));
    await assert.rejects(fetch(`${server.url}${WEBSOCKET}`));
    await server.resume();
    assert.equal((await fetch(`${server.url}/health`)).status, 200);
  }));
