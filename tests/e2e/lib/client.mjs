// What a client does: key login, requests, and devices that listen.
import { generateKeyPairSync, randomBytes, randomUUID, sign } from 'node:crypto';
import { io } from 'socket.io-client';
import { PATIENCE_MS, until } from './wait.mjs';

/** One account, signed in with a fresh Ed25519 key. */
export class Account {
  static async login(server) {
    const account = new Account();
    account.server = server;
    account.keys = generateKeyPairSync('ed25519');
    const challenge = randomBytes(32);
    const body = {
      publicKey: Buffer.from(account.keys.publicKey.export({ format: 'jwk' }).x, 'base64url').toString('base64'),
      challenge: challenge.toString('base64'),
      signature: sign(null, challenge, account.keys.privateKey).toString('base64'),
    };
    const { token } = await account.ask('POST', '/v1/auth', body);
    account.token = token;
    return account;
  }

  /** The same account, whose requests and devices go to another replica. */
  at(server) {
    return Object.assign(new Account(), this, { server });
  }

  /** Any answer: `{ status, body, text }`. Fails only when there is none. */
  async request(method, path, body, headers = {}) {
    const answer = await fetch(`${this.server.url}${path}`, {
      method,
      headers: {
        ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await answer.text();
    let parsed = null;
    if (answer.headers.get('content-type')?.startsWith('application/json')) parsed = JSON.parse(text);
    return { status: answer.status, body: parsed, text };
  }

  /** The body of a 200 answer; fails on every other one. */
  async ask(method, path, body, headers) {
    const answer = await this.request(method, path, body, headers);
    if (answer.status !== 200) throw new Error(`${method} ${path} answered ${answer.status}: ${answer.text.slice(0, 500)}`);
    return answer.body;
  }

  async session(tag = randomBytes(6).toString('hex')) {
    return (await this.ask('POST', '/v1/sessions', { tag, metadata: 'metadata' })).session.id;
  }

  /** Its id, as others name it. */
  async id() {
    this.known ??= (await this.ask('GET', '/v1/account/profile')).id;
    return this.known;
  }

  async machine(id = randomUUID()) {
    await this.ask('POST', '/v1/machines', { id, metadata: 'metadata' });
    return id;
  }

  /** Shares a session with a friend; gives the path of the share. */
  async share(session, friend, accessLevel, more = {}) {
    for (const [one, other] of [[this, friend], [friend, this]]) {
      await one.ask('POST', '/v1/friends/add', { uid: await other.id() });
    }
    const encryptedDataKey = Buffer.concat([Buffer.alloc(1), randomBytes(72)]).toString('base64');
    const path = `/v1/sessions/${session}/shares`;
    const { share } = await this.ask('POST', path, { userId: await friend.id(), accessLevel, encryptedDataKey, ...more });
    return `${path}/${share.id}`;
  }

  /** Every stored message of a session, oldest first, page by page. */
  async messages(session) {
    const all = [];
    for (let after = 0; after !== null; ) {
      const page = await this.ask('GET', `/v1/sessions/${session}/messages?limit=500&afterSeq=${after}`);
      all.push(...page.messages);
      after = page.nextAfterSeq;
    }
    return all;
  }

  device(options = {}) {
    return new Device(this, options);
  }
}

/** One socket.io connection and what it got, in order. */
export class Device {
  /**
   * Options: `transports`, `session` or `machine` (what the connection is scoped to), `reconnection`, `token`, `server` (a
   * replica), `client` (more options of socket.io-client).
   */
  constructor(account, options = {}) {
    const { transports = ['websocket'], session = null, machine = null, reconnection = false, token = account.token, server = account.server } = options;
    this.account = account;
    this.updates = [];
    this.ephemerals = [];
    this.errors = [];
    this.disconnects = [];
    this.connects = 0;
    this.socket = io(server.url, {
      path: '/v1/updates',
      auth: {
        token,
        ...(session ? { clientType: 'session-scoped', sessionId: session } : {}),
        ...(machine ? { clientType: 'machine-scoped', machineId: machine } : {}),
      },
      transports,
      forceNew: true,
      reconnection,
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
      ...options.client,
    });
    this.socket.on('connect', () => this.connects++);
    this.socket.on('disconnect', (reason) => this.disconnects.push(reason));
    this.socket.on('update', (update) => this.updates.push(update));
    this.socket.on('ephemeral', (ephemeral) => this.ephemerals.push(ephemeral));
    this.socket.on('error', (error) => this.errors.push(error));
    open.add(this);
  }

  get id() {
    return this.socket.id;
  }

  get transport() {
    return this.socket.io.engine?.transport?.name;
  }

  /** Connected and admitted: the server has answered an event. */
  async ready(timeoutMs = PATIENCE_MS) {
    await until(() => this.socket.connected, 'connected', timeoutMs);
    await this.fence(timeoutMs);
    return this;
  }

  /** What the server sent before has arrived when this is answered. */
  fence(timeoutMs = PATIENCE_MS) {
    return this.socket.timeout(timeoutMs).emitWithAck('ping');
  }

  ask(event, data, timeoutMs = PATIENCE_MS) {
    return this.socket.timeout(timeoutMs).emitWithAck(event, data);
  }

  send(session, text, localId, timeoutMs) {
    return this.ask('message', { sid: session, message: text, ...(localId === undefined ? {} : { localId }) }, timeoutMs);
  }

  /**
   * Holds a method from when this resolves on, also after a reconnection; `answer(params)` gives what a call is answered,
   * `undefined` for nothing.
   */
  async register(method, answer) {
    this.methods ??= this.answerCalls();
    this.methods.set(method, answer);
    const registered = new Promise((resolve) => {
      const heard = (what) => what.method === method && (this.socket.off('rpc-registered', heard), resolve());
      this.socket.on('rpc-registered', heard);
    });
    this.socket.emit('rpc-register', { method });
    await registered;
  }

  answerCalls() {
    const methods = new Map();
    this.socket.on('rpc-request', async ({ method, params }, ack) => {
      const result = await methods.get(method)(params);
      if (result === undefined) ack();
      else ack(result);
    });
    this.socket.on('connect', () => {
      for (const method of methods.keys()) this.socket.emit('rpc-register', { method });
    });
    return methods;
  }

  /** The ack of an `rpc-call`. */
  call(method, params, timeoutMs = PATIENCE_MS) {
    return this.ask('rpc-call', { method, ...(params === undefined ? {} : { params }) }, timeoutMs);
  }

  /** The ciphertexts of the new messages it was told about, in the order of their arrival. */
  get texts() {
    return this.updates.filter((u) => u.body.t === 'new-message').map((u) => u.body.message.content.c);
  }

  close() {
    open.delete(this);
    this.isClosed = true;
    this.socket.disconnect();
  }
}

const open = new Set();

/** Ends every device that a test left open. */
export function closeDevices() {
  for (const device of [...open]) device.close();
}
