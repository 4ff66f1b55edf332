// A certificate for 127.0.0.1 and the authority that signed it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from './process.mjs';

/** Makes the files `authority`, `certificate`, `key` and `both` (certificate and key) in a directory, and gives their paths. */
export async function makeCertificate(dir) {
  const path = Object.fromEntries(['authority', 'authority.key', 'certificate', 'key', 'both'].map((name) => [name, join(dir, name)]));
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const openssl = (...args) => runToEnd('openssl', [...request, ...args], { cwd: dir });
  await openssl('-subj', '/CN=tests', '-keyout', path['authority.key'], '-out', path.authority);
  const signer = ['-CA', path.authority, '-CAkey', path['authority.key']];
  const extensions = ['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await openssl('-subj', '/CN=happier.example', ...signer, ...extensions, '-keyout', path.key, '-out', path.certificate);
  writeFileSync(path.both, readFileSync(path.certificate, 'utf8') + readFileSync(path.key, 'utf8'));
  return path;
}
