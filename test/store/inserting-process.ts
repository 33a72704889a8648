/**
 * A process that inserts credentials one by one into the file it is given: as many as it is told to, or until it is killed.
 * Prints the id of each once the store has acknowledged it.
 */
import { writeSync } from 'node:fs';
import { parsePhc } from '../../src/keys/phc.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { openFileStore } from '../../src/store/file/file-store.ts';
import { issuedRecord } from './conformance.ts';

const path = process.argv[2] ?? '';
const count = Number(process.argv[3] ?? 'Infinity');

const store = openFileStore({
  path,
  pollMs: 1000,
  logger: silentLogger,
  checkHash: (phc) => void parsePhc(phc),
});
await store.open();
for (let at = 0; at < count; at += 1) {
  const record = issuedRecord();
  await store.insert([record]);
  // At once, not through a buffer that dies with the process.
  writeSync(1, `${record.id}\n`);
}
await store.close();
