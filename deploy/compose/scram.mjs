/** What PostgreSQL verifies a password with, for `create role … password '…'` (SCRAM-SHA-256, RFC 5803). Reads the password on standard input. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

const ITERATIONS = 4096;

const password = readFileSync(0, 'utf8').trim();
// SASLprep leaves ASCII as it is.
if (!/^[\x21-\x7e]{20,}$/.test(password))
  throw new Error('the password needs 20 visible ASCII characters or more');
const salt = randomBytes(16);
const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256');
const hmac = (text) => createHmac('sha256', salted).update(text).digest();
const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
const serverKey = hmac('Server Key').toString('base64');
process.stdout.write(`SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`);
