// GitHub, RevenueCat and ElevenLabs, played by one server that answers as a test says.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const vectors = JSON.parse(readFileSync(new URL('../../vectors/thumbhash.json', import.meta.url), 'utf8'));

/** The bytes of an image of the contract, by the beginning of its name, with what is known of it. */
export function image(name) {
  const vector = vectors.imageFiles.find((file) => file.name.startsWith(name));
  return { ...vector, bytes: Buffer.from(vector.fileBase64, 'base64') };
}

export class Services {
  /** Everything is served by `answer(request, response, body)` unless it gives false; then a 500 is. */
  static async start() {
    const services = new Services();
    services.asked = []; // { method, path, headers, body }
    services.users = new Map(); // by access token, which is the code again
    services.avatar = image('png 130x78').bytes;
    services.held = null; // those whose answers are held back
    services.waiters = [];
    services.server = createServer((request, response) => services.#serve(request, response)).listen(0, '127.0.0.1');
    await once(services.server, 'listening');
    services.url = `http://127.0.0.1:${services.server.address().port}`;
    return services;
  }

  get settings() {
    return {
      HAPPIER_GITHUB_URL: this.url,
      HAPPIER_GITHUB_API_URL: `${this.url}/api`,
      HAPPIER_REVENUECAT_URL: this.url,
      HAPPIER_ELEVENLABS_URL: `${this.url}/`,
      GITHUB_CLIENT_ID: 'the client',
      GITHUB_CLIENT_SECRET: 'do-not-print-this-secret',
      GITHUB_REDIRECT_URL: 'https://server.example/v1/connect/github/callback',
      ELEVENLABS_API_KEY: 'do-not-print-this-secret',
    };
  }

  /** From now on answers wait for `release`. */
  hold() {
    this.held = [];
  }

  /** Resolves when so many requests wait. */
  async holding(count) {
    while (this.held.length < count) await new Promise((more) => this.waiters.push(more));
  }

  /** Nothing waits any more, or only the first request still does, for the function that this gives. */
  release({ butTheFirst = false } = {}) {
    const held = this.held;
    this.held = null;
    const first = butTheFirst ? held.shift() : undefined;
    for (const go of held) go();
    return first;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }

  async #serve(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    this.asked.push({ method: request.method, path: request.url, headers: request.headers, body: body.toString() });
    if (this.held) {
      const held = new Promise((go) => this.held.push(go));
      for (const more of this.waiters.splice(0)) more();
      await held;
    }
    const json = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const url = new URL(request.url, this.url);
    if (url.pathname === '/login/oauth/authorize') {
      const back = new URL(url.searchParams.get('redirect_uri'));
      back.searchParams.set('code', 'code-of-ada');
      back.searchParams.set('state', url.searchParams.get('state'));
      response.writeHead(302, { location: back.href }).end();
    } else if (url.pathname === '/login/oauth/access_token') {
      const { code } = JSON.parse(body);
      if (this.users.has(code)) json(200, { access_token: code, token_type: 'bearer' });
      else json(200, { error: 'bad_verification_code', error_description: 'The code passed is incorrect or expired.' });
    } else if (url.pathname === '/api/user') {
      const user = this.users.get(request.headers.authorization?.replace('Bearer ', ''));
      if (user) json(200, { ...user, avatar_url: `${this.url}${user.avatar_url}` });
      else json(401, { message: 'Bad credentials' });
    } else if (url.pathname.startsWith('/avatars/')) {
      response.writeHead(200, { 'content-type': 'image/webp' }).end(this.avatar);
    } else if (url.pathname.startsWith('/v1/subscribers/')) {
      json(200, { subscriber: { entitlements: { active: request.headers.authorization === 'Bearer pro' ? { pro: {} } : {} } } });
    } else if (url.pathname === '/v1/convai/conversation/token') {
      json(200, { token: `for ${url.searchParams.get('agent_id')}` });
    } else {
      response.writeHead(500).end();
    }
  }
}
