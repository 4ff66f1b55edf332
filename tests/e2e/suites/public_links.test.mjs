// What the owner of a public link does while somebody is about to use it decides about that use.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Account } from '../lib/client.mjs';
import { Locker } from '../lib/locker.mjs';
import { Server, flavor } from '../lib/server.mjs';

let server;
let owner;
let visitor;
before(async () => {
  server = await Server.start();
  [owner, visitor] = [await Account.login(server), await Account.login(server)];
});
after(async () => assert.equal((await server.terminate()).code, 0));

const hash = (token) => `'\\x${createHash('sha256').update(token).digest('hex')}'`;

/** A new link, and how often it has been used. */
async function link(settings = {}) {
  const [session, token] = [await owner.session(), randomUUID()];
  const target = `/v1/sessions/${session}/public-share`;
  const { publicShare } = await owner.ask('POST', target, { token, encryptedDataKey: 'AAAA', ...settings });
  return { token, id: publicShare.id, uses: async () => (await owner.ask('GET', target)).publicShare.useCount };
}

const visit = (token) => visitor.request('GET', `/v1/public-share/${token}`);

test('a use is counted and logged', async () => {
  const { token, uses } = await link({ maxUses: 2 });
  for (const status of [200, 200, 404]) assert.equal((await visit(token)).status, status);
  assert.equal(await uses(), 2);
});

if (flavor === 'full') {
  // SQLite runs one transaction after the other, so nothing comes in between and there is no such test of the light flavor.
  const CHANGES = [
    ['rotated', 404, ({ id }) => `UPDATE "PublicSessionShare" SET "tokenHash" = ${hash(randomUUID())} WHERE "id" = '${id}'`],
    ['expired', 404, ({ id }) => `UPDATE "PublicSessionShare" SET "expiresAt" = '2020-01-01' WHERE "id" = '${id}'`],
    ['made to ask for consent', 403, ({ id }) => `UPDATE "PublicSessionShare" SET "isConsentRequired" = true WHERE "id" = '${id}'`],
    ['used up', 404, ({ id }) => `UPDATE "PublicSessionShare" SET "maxUses" = 1, "useCount" = 1 WHERE "id" = '${id}'`],
    ['closed to the visitor', 404, ({ id, account }) =>
      `INSERT INTO "PublicShareBlockedUser" ("id", "publicShareId", "userId", "blockedAt") VALUES ('${randomUUID()}', '${id}', '${account}', now())`],
  ];
  for (const [what, status, statement] of CHANGES) {
    test(`a link that is being ${what} is not used in the meantime`, async () => {
      const { token, id, uses } = await link();
      const locker = new Locker(server.storage.DATABASE_URL);
      await locker.run(`BEGIN; ${statement({ id, account: await visitor.id() })}`);
      const visiting = visit(token);
      await locker.untilWaitedFor();
      await locker.unlock();
      assert.equal((await visiting).status, status);
      assert.equal(await uses(), what === 'used up' ? 1 : 0);
    });
  }
}
