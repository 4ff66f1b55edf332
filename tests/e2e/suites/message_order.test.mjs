// Messages of one connection are stored in the order in which they were sent; connections do not wait for each other.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Locker } from '../lib/locker.mjs';
import { Server, flavor } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const QUEUED = 1_000; // as many as may wait for one connection

let server;
before(async () => {
  // On one core nobody is saved by being somewhere else.
  server = await Server.start({ settings: { HAPPIER_CORES: '1' } });
});
after(() => server.terminate());
afterEach(closeDevices);

const numbers = async (account, session) => (await account.messages(session)).map((message) => Number(message.content.c.split(' ')[0]));
const upTo = (count) => Array.from({ length: count }, (_, n) => n);

for (const transports of [['websocket'], ['polling']]) {
  test(`in order, and nobody behind somebody else's queue (${transports})`, async () => {
    const [busy, quick] = [await Account.login(server), await Account.login(server)];
    const [long, short] = [await busy.session(), await quick.session()];
    const queue = await busy.device({ transports }).ready();
    const others = await Promise.all([quick.device().ready(), quick.device({ transports: ['polling'] }).ready()]);
    const order = [];
    const queued = upTo(QUEUED).map(async (n) => {
      assert.equal((await queue.send(long, `${n} ${'x'.repeat(8_000)}`)).seq, n + 1);
      order.push('queue');
    });
    await until(() => order.length > 0, 'under way');
    for (const [n, other] of others.entries()) {
      assert.equal((await other.send(short, `${n}`)).seq, n + 1);
      order.push('other');
    }
    // Events of other kinds overtake the messages of their own connection, too.
    assert.equal((await queue.ask('update-state', { sid: long, agentState: 'x', expectedVersion: 0 })).result, 'success');
    order.push('own state');
    await Promise.all(queued);
    assert.equal(order.lastIndexOf('queue'), order.length - 1, 'the queue was longer than all of that');
    assert.deepEqual(await numbers(busy, long), upTo(QUEUED));
  });
}

if (flavor === 'full') {
  // SQLite has one writer and no rows that somebody could hold, so there is no such test of the light flavor.
  test('while the database holds one session up, messages of the others are stored and told', async () => {
    const [held, free] = [await Account.login(server), await Account.login(server)];
    const [stuck, next, open] = [await held.session(), await held.session(), await free.session()];
    const writer = await held.device().ready();
    const others = await Promise.all([['websocket'], ['polling']].map((transports) => free.device({ transports }).ready()));
    const locker = new Locker(server.storage.DATABASE_URL);
    await locker.lockRow('Session', stuck);

    let answered = 0;
    const waiting = [stuck, next, stuck].map(async (session, n) => {
      const ack = await writer.send(session, `${n}`);
      assert.equal(ack.ok, true);
      answered += 1;
    });
    await writer.fence();
    for (let n = 0; n < 100; n++) {
      assert.equal((await others[n % 2].send(open, `${n}`)).seq, n + 1);
      await until(() => others[(n + 1) % 2].texts.length >= Math.floor(n / 2) + 1, 'told');
    }
    // Whatever its connection has sent behind it waits, in order; its other events do not.
    assert.equal((await writer.ask('update-state', { sid: next, agentState: 'x', expectedVersion: 0 })).result, 'success');
    await writer.fence();
    assert.equal(answered, 0);
    await locker.unlock();
    await Promise.all(waiting);
    assert.deepEqual([await numbers(held, stuck), await numbers(held, next), await numbers(free, open)], [[0, 2], [1], upTo(100)]);
  });
}
