/** The rights in Vault of who administers keys and rotates peppers: see policy-rights.ts. R12. */
import { testRights } from './policy-rights.ts';

testRights('admin', 'pepper-rotation');
