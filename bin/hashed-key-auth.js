#!/usr/bin/env node
import { availableParallelism } from 'node:os';

// Node's own answer to this signal is a debugger on loopback: whoever on the machine can connect to it, whatever user, reads
// peppers and keys in memory. Some log rotation sends it.
process.on('SIGUSR1', () => undefined);

// argon2 runs on libuv's pool, whose size is fixed at its first use.
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));

// Who reads the output may go before its end (`| head`), or a disk be full. What was begun is still done to its end, and the
// status tells that not all of it was seen: as that of a program does which SIGPIPE ends, or else 1.
let statusOfLoss = 0;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if (error.code !== 'EPIPE' && statusOfLoss !== 1 && stream === process.stdout) {
      const message =
        `can't write the output: ${error.message}. What was asked for may be done all the same. ` +
        'If a key was to be shown, it is lost: `keys list` shows its id, `keys rotate` makes another one';
      process.stderr.write(
        process.argv.includes('--json')
          ? `${JSON.stringify({ error: { code: 'HKA_INTERNAL', message } })}\n`
          : `error: ${message}\n`,
      );
    }
    statusOfLoss = error.code === 'EPIPE' ? statusOfLoss || 141 : 1;
  });
}
process.once('exit', (code) => {
  if (code === 0) process.exitCode = statusOfLoss;
});

import('../dist/src/cli/main.js')
  .then(({ main }) => main(process.argv.slice(2)))
  .then((code) => {
    process.exitCode = code;
  });
