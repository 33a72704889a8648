/** The gateway's rights in Vault: see policy-rights.ts. R12. */
import { testRights, testWithDefaultPolicy } from './policy-rights.ts';

testWithDefaultPolicy();
testRights('gateway');
