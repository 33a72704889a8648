/** A restart of the server with many keys in use: how long until all are verified again. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { install } from '../test/helpers/installation.ts';
import { startGateway } from '../test/helpers/kong/gateway.ts';
import { send } from '../test/helpers/http.ts';
import { generateKey } from '../src/keys/format.ts';
import { startFixedUpstream } from './gateway.ts';

export interface RestartFigures {
  readonly keys: number;
  readonly coldSeconds: number;
  readonly restartSeconds: number;
  /** Answers with 503 meanwhile: the argon2 queue was full, the caller tried again. */
  readonly busy: number;
}

const CONNECTIONS = 32;

export async function benchRestart(keys: number, write: (text: string) => void): Promise<RestartFigures> {
  const installation = await install();
  const upstream = await startFixedUpstream();
  // Of a form of their own, so that they are imported as they are: 128 bits and more.
  const all = Array.from({ length: keys }, () => generateKey('bench').key.reveal());
  const old = join(installation.folder, 'kong.yml');
  writeFileSync(
    old,
    `_format_version: "3.0"\nconsumers:\n- username: alice\n  keyauth_credentials:\n${all.map((key) => `  - key: ${key}\n`).join('')}`,
  );
  const imported = await installation.run(['keys', 'import', old]);
  if (imported.status !== 0) throw new Error(imported.stderr);
  let served = await installation.serve();
  const gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice' }],
      services: [
        {
          name: 'bench',
          url: upstream.url,
          routes: [{ name: 'r', paths: ['/guarded'], plugins: [{ name: 'hashed-key-auth', config: {} }] }],
        },
      ],
    },
    pluginServers: [installation.pluginServer],
  });
  let busy = 0;
  const verifyAll = async (): Promise<number> => {
    const started = performance.now();
    const waiting = [...all];
    await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
          const { status } = await send(`${gateway.url}/guarded`, { headers: [['apikey', key]] });
          if (status === 200) continue;
          if (status !== 503 && status !== 500) throw new Error(`a good key was answered ${status}`);
          busy += 1;
          waiting.unshift(key);
        }
      }),
    );
    return (performance.now() - started) / 1000;
  };
  const coldSeconds = await verifyAll();
  await served.kill('SIGTERM');
  served = await installation.serve();
  const restartSeconds = await verifyAll();
  await gateway.stop();
  await installation.dispose();
  upstream.close();
  write(`\nRestart with ${keys} active keys, ${CONNECTIONS} callers\n`);
  write(
    `  all verified again after ${restartSeconds.toFixed(1)} s (${(keys / restartSeconds).toFixed(0)} keys/s); `,
  );
  write(`${busy} answers were 5xx meanwhile\n`);
  return { keys, coldSeconds, restartSeconds, busy };
}
