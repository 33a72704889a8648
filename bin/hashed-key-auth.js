#!/usr/bin/env node
import { availableParallelism } from 'node:os';

// argon2 runs on libuv's pool, whose size is fixed at its first use.
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));

import('../dist/src/cli/main.js')
  .then(({ main }) => main(process.argv.slice(2)))
  .then((code) => {
    process.exitCode = code;
  });
