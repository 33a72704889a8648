/**
 * The TLS client certificate that a connection to Vault shows: read anew for each new connection, so that a renewed one is
 * used without a restart.
 *
 * Invariant: what is shown is always a pair that fits. While the files are being replaced, the pair before is used.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError, isHkaError, type ErrorCode } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';

export interface CertificatePair {
  /** PEM, with intermediate certificates if the file has some. */
  readonly cert: string;
  readonly key: string;
  /** Another one for another pair; no secret. */
  readonly fingerprint: string;
}

export class ClientCertificate {
  readonly #certFile: string;
  readonly #keyFile: string;
  #good: CertificatePair | undefined;

  /** `keyFile`: mode 0600 or stricter. Reads nothing yet. */
  constructor(certFile: string, keyFile: string) {
    this.#certFile = certFile;
    this.#keyFile = keyFile;
  }

  /** Throws HKA_CONFIG_INVALID unless both files are there, private where they must be, and fit. */
  check(): void {
    this.#good = this.#read('HKA_CONFIG_INVALID');
  }

  /** Throws HKA_VAULT_TLS when the files hold no pair that fits, and never did. */
  current(): CertificatePair {
    try {
      this.#good = this.#read('HKA_VAULT_TLS');
    } catch (error) {
      if (this.#good === undefined) throw error;
    }
    return this.#good;
  }

  #read(code: ErrorCode): CertificatePair {
    const cert = readText(this.#certFile, code, 'the client certificate for Vault');
    const key = readPrivateFile(this.#keyFile, "the client certificate's key", code);
    const known = this.#good;
    if (known !== undefined && known.cert === cert && known.key === key) return known;
    let first: X509Certificate;
    try {
      first = new X509Certificate(cert);
    } catch {
      throw new HkaError(code, `${this.#certFile} has no certificate in it (PEM, BEGIN CERTIFICATE)`);
    }
    try {
      if (!first.checkPrivateKey(createPrivateKey(key))) {
        throw new HkaError(
          code,
          `the key in ${this.#keyFile} is not that of the certificate in ${this.#certFile}`,
        );
      }
    } catch (error) {
      if (isHkaError(error)) throw error;
      // OpenSSL's own words say where it stopped reading, which is nothing for a log.
      throw new HkaError(code, `${this.#keyFile} has no private key in it (PEM, not encrypted)`);
    }
    return {
      cert,
      key,
      fingerprint: createHash('sha256')
        .update(cert)
        .update(first.publicKey.export({ type: 'spki', format: 'der' }))
        .digest('hex'),
    };
  }
}
