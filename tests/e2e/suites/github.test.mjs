// Connecting GitHub from the first request to the avatar, voice tokens, and what slow services do to others: nothing.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { ObjectStorage } from '../lib/object_storage.mjs';
import { Server, flavor } from '../lib/server.mjs';
import { Services, image } from '../lib/services.mjs';
import { PATIENCE_MS, until } from '../lib/wait.mjs';

const CALL_THREADS = 8;
const CALLS_WAITING_MAX = 256;
const CALLS_OF_ACCOUNT = 2;
const WAITING_OF_ACCOUNT_MAX = 8;
const BUSY = { error: 'The server is busy, try again later' };

let services;
let objects;
let server;
before(async () => {
  services = await Services.start();
  objects = flavor === 'full' ? await ObjectStorage.start() : null;
  // One core: whatever waits would be in everybody's way.
  const settings = { ...services.settings, ...objects?.settings, HAPPIER_CORES: '1', HAPPIER_CALL_TIMEOUT_MS: String(PATIENCE_MS), NODE_ENV: 'development' };
  server = await Server.start({ settings, metrics: true });
});
after(async () => {
  closeDevices();
  await server.terminate();
  assert.ok(!server.child.output.includes('do-not-print-this-secret'), 'a secret is in the log');
  services.close();
  await objects?.remove();
});

/** A user that GitHub knows from now on, by the code that stands for it. */
function person(login, avatar = `/avatars/${login}`) {
  const code = `code-of-${login}`;
  services.users.set(code, { id: randomInt(1, 2 ** 47), login, name: 'Ada  Byron', avatar_url: avatar, plan: { name: 'free' } });
  return code;
}

async function callback(code, state) {
  const query = new URLSearchParams({ code, state });
  const answer = await fetch(`${server.url}/v1/connect/github/callback?${query}`, { redirect: 'manual' });
  assert.equal(answer.status, 302);
  assert.equal(await answer.text(), '');
  return answer.headers.get('location');
}

async function state(account) {
  const { url } = await account.ask('GET', '/v1/connect/github/params');
  return new URL(url).searchParams.get('state');
}

test('the whole way, from the button to the picture', async () => {
  const ada = await Account.login(server);
  const device = await ada.device().ready();
  const code = person('ada');
  const picture = image('png 130x78');

  const { url } = await ada.ask('GET', '/v1/connect/github/params');
  const asked = await fetch(url, { redirect: 'manual' });
  const back = new URL(asked.headers.get('location'));
  assert.equal(back.origin + back.pathname, services.settings.GITHUB_REDIRECT_URL);
  assert.equal(back.searchParams.get('code'), code);
  const end = await callback(code, back.searchParams.get('state'));
  assert.equal(end, 'https://app.happier.dev?github=connected&user=ada');

  await until(() => device.updates.length === 1, 'the update');
  const { body } = device.updates[0];
  const github = { ...services.users.get(code), avatar_url: `${services.url}/avatars/ada` };
  const { avatar, ...rest } = body;
  assert.deepEqual(rest, { t: 'update-account', id: rest.id, github, username: 'ada', firstName: 'Ada', lastName: 'Byron' });
  assert.match(avatar.path, new RegExp(`^public/users/${rest.id}/avatars/github_[A-Za-z0-9]{24}\\.png$`));
  assert.deepEqual([avatar.width, avatar.height], [130, 78]);
  const base = flavor === 'light' ? `http://localhost:${server.port}/files` : objects.settings.S3_PUBLIC_URL;
  assert.equal(avatar.url, `${base}/${avatar.path}`);
  const file = await fetch(avatar.url);
  assert.equal(file.status, 200);
  assert.deepEqual(Buffer.from(await file.arrayBuffer()), picture.bytes);
  if (flavor === 'light') {
    assert.equal(file.headers.get('content-type'), 'image/png');
    assert.equal(file.headers.get('cache-control'), 'public, max-age=31536000, immutable');
  } else {
    const own = await fetch(`${server.url}/files/${avatar.path}`);
    assert.equal(own.status, 404);
  }
  const profile = await ada.ask('GET', '/v1/account/profile');
  assert.deepEqual([profile.github, profile.avatar, profile.username], [github, avatar, 'ada']);

  // Another device of another person takes the same GitHub user over.
  const eve = await Account.login(server);
  assert.equal(await callback(code, await state(eve)), end);
  await until(() => device.updates.length === 2, 'the loss');
  assert.deepEqual(device.updates[1].body, { t: 'update-account', id: rest.id, github: null, username: null });
  assert.equal((await eve.ask('GET', '/v1/account/profile')).avatar.path, avatar.path);
  assert.deepEqual(await eve.ask('DELETE', '/v1/connect/github'), { success: true });
  assert.equal((await eve.ask('GET', '/v1/account/profile')).github, null);
});

test('what goes wrong ends on a page that says so', async () => {
  const account = await Account.login(server);
  assert.equal(await callback('x', 'nonsense'), 'https://app.happier.dev?error=invalid_state');
  assert.equal(await callback('x', await state(account)), 'https://app.happier.dev?error=bad_verification_code');
  for (const garbage of [Buffer.from('GIF89a'), image('png 130x78').bytes.subarray(0, 4_000), Buffer.alloc(9 << 20)]) {
    services.avatar = garbage;
    assert.equal(await callback(person(`garbage${garbage.length}`), await state(account)), 'https://app.happier.dev?error=server_error');
  }
  services.avatar = image('png 130x78').bytes;
  assert.equal((await account.ask('GET', '/v1/account/profile')).github, null);
});

test('voice', async () => {
  const account = await Account.login(server);
  const granted = await account.ask('POST', '/v1/voice/token', { agentId: 'agent & more' });
  assert.deepEqual(granted, { allowed: true, token: 'for agent & more', agentId: 'agent & more' });
});

test('a service that does not answer is in nobody\'s way, and has room for so many', async () => {
  const [slow, other] = [await Account.login(server), await Account.login(server)];
  const device = await other.device().ready();
  const session = await other.session();
  const begun = await state(slow);
  services.hold();
  let goOn;
  try {
    const order = [];
    const connecting = callback(person('slowpoke'), begun).then((location) => {
      order.push('connected');
      return location;
    });
    await services.holding(1);
    // One core serves all of this while it waits for GitHub.
    assert.equal((await device.send(session, 'meanwhile')).ok, true);
    await other.messages(session);
    order.push('others');

    // The threads are taken, then the queue, then the next one is told.
    const waiting = CALL_THREADS - 1 + CALLS_WAITING_MAX;
    const crowd = await Promise.all(Array.from({ length: Math.ceil((waiting + 1) / CALLS_OF_ACCOUNT) }, () => Account.login(server)));
    let asked = 0;
    const next = () => crowd[Math.floor(asked++ / CALLS_OF_ACCOUNT)];
    const ask = (length) => Array.from({ length }, () => next().request('POST', '/v1/voice/token', { agentId: 'a' }));
    const voices = ask(CALL_THREADS - 1);
    await services.holding(CALL_THREADS);
    voices.push(...ask(CALLS_WAITING_MAX + 1));
    const first = await Promise.race(voices);
    assert.deepEqual([first.status, first.body], [503, BUSY]);
    const metrics = await (await fetch(`${server.metricsUrl}/metrics`)).text();
    assert.match(metrics, /^happier_pool_refusals_total\{pool="calls"\} 1$/m);
    assert.equal((await device.send(session, 'still')).ok, true);
    assert.deepEqual(order, ['others']);
    // The connection needs more calls, which a full queue may refuse: it goes on when the others are through.
    goOn = services.release({ butTheFirst: true });
    const statuses = (await Promise.all(voices)).map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [...Array(waiting).fill(200), 503]);
    goOn();
    assert.equal(await connecting, 'https://app.happier.dev?github=connected&user=slowpoke');
  } finally {
    if (services.held) services.release();
    goOn?.();
  }
});

test('an account has two calls under way, and few waiting', async () => {
  const account = await Account.login(server);
  services.hold();
  try {
    const wanted = CALLS_OF_ACCOUNT + WAITING_OF_ACCOUNT_MAX;
    const voices = Array.from({ length: wanted + 1 }, () => account.request('POST', '/v1/voice/token', { agentId: 'a' }));
    const first = await Promise.race(voices);
    assert.deepEqual([first.status, first.body], [503, BUSY]);
    await services.holding(CALLS_OF_ACCOUNT);
    services.release();
    const statuses = (await Promise.all(voices)).map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [...Array(wanted).fill(200), 503]);
  } finally {
    if (services.held) services.release();
  }
});

test('a service that takes too long is given up', async () => {
  const settings = { ...services.settings, ...objects?.settings, HAPPIER_CALL_TIMEOUT_MS: '200', NODE_ENV: 'development' };
  const impatient = await Server.start({ settings });
  services.hold();
  try {
    const account = await Account.login(impatient);
    const answer = await account.request('POST', '/v1/voice/token', { agentId: 'a' });
    assert.deepEqual([answer.status, answer.body.error], [500, 'Internal Server Error']);
    assert.match(impatient.child.output, /no answer in time/);
  } finally {
    services.release();
    await impatient.terminate();
  }
});

if (flavor === 'full') {
  test('object storage that does not answer is in nobody\'s way', async () => {
    const [slow, other] = [await Account.login(server), await Account.login(server)];
    const device = await other.device().ready();
    const session = await other.session();
    const begun = await state(slow);
    const order = [];
    objects.child.signal('SIGSTOP');
    try {
      const connecting = callback(person('patient'), begun).then((location) => {
        order.push('connected');
        return location;
      });
      // The picture is here; what follows is its way into the bucket.
      await until(() => services.asked.some(({ path }) => path === '/avatars/patient'), 'downloaded');
      for (let n = 0; n < 20; n++) {
        assert.equal((await device.send(session, `meanwhile ${n}`)).ok, true);
        await other.messages(session);
      }
      order.push('others');
      objects.child.signal('SIGCONT');
      assert.equal(await connecting, 'https://app.happier.dev?github=connected&user=patient');
      assert.deepEqual(order, ['others', 'connected']);
    } finally {
      objects.child.signal('SIGCONT');
    }
  });

  test('object storage that goes away costs pictures, nothing else', async () => {
    const account = await Account.login(server);
    const code = person('late');
    await objects.stop();
    assert.equal(await callback(code, await state(account)), 'https://app.happier.dev?error=server_error');
    assert.equal((await account.ask('GET', '/v1/account/profile')).github, null);
    await objects.resume();
    assert.equal(await callback(code, await state(account)), 'https://app.happier.dev?github=connected&user=late');
  });
}
