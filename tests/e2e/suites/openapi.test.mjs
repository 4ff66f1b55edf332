// The description that the server gives of itself: valid for a program that knows the format, and true.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Server, flavor } from '../lib/server.mjs';

let server;
let document;
before(async () => {
  server = await Server.start();
  const answer = await fetch(`${server.url}/openapi.json`);
  assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'application/json; charset=utf-8']);
  document = await answer.json();
});
after(() => server.terminate());

function* operations() {
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) yield { path, method: method.toUpperCase(), operation };
  }
}

test('it is a valid document of OpenAPI 3.1, and the validator can find a mistake', async () => {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(document));
  assert.equal(result.valid, true, JSON.stringify(result.errors));
  assert.equal(validator.version, '3.1');
  const broken = structuredClone(document);
  broken.paths['/v1/kv'].get.parameters[0].in = 'nowhere';
  assert.equal((await new Validator().validate(broken)).valid, false);
});

test('every operation is a route, with every parameter of its path', async () => {
  let count = 0;
  for (const { path, method, operation } of operations()) {
    count += 1;
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const described = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
    assert.deepEqual(described.map((parameter) => parameter.name), named, path);
    assert.ok(described.every((parameter) => parameter.required), path);
    const target = path.replace(/\{\w+\}/g, 'openai');
    const answer = await fetch(server.url + target, { method, redirect: 'manual' });
    const text = await answer.text();
    assert.ok(String(answer.status) in operation.responses, `${method} ${path} answers ${answer.status}: ${text}`);
    assert.ok(!text.includes('"path":'), `${method} ${path} is not a route: ${text}`);
    if (operation.security.length === 1) assert.ok([400, 401].includes(answer.status), `${method} ${path}: ${answer.status}`);
  }
  assert.ok(count > 70, `${count} operations`);
  assert.equal('/files/{path}' in document.paths, flavor === 'light');
});

test('a body without its required members is refused with the names of them', async () => {
  for (const { path, method, operation } of operations()) {
    const schema = operation.requestBody?.content['application/json'].schema;
    if (!schema?.required) continue;
    const target = path.replace(/\{\w+\}/g, 'openai');
    const answer = await fetch(server.url + target, { method, headers: { 'Content-Type': 'application/json' }, body: '{}' });
    const { error, message } = await answer.json();
    assert.deepEqual([answer.status, error], [400, 'Error'], `${method} ${path}`);
    assert.equal(message, schema.required.map((name) => `body/${name} Required`).join(', '), `${method} ${path}`);
  }
});
