/** `completion bash|zsh`: a script for the shell, made from the commands themselves, so that it is never behind them. */
import type { Command } from 'commander';
import { HkaError } from '../lib/errors.ts';

export const SHELLS = ['bash', 'zsh'] as const;

interface Words {
  /** The commands so far, such as `keys rotate`. */
  readonly path: string;
  readonly words: readonly string[];
}

export function completionScript(program: Command, shell: string): string {
  if (!SHELLS.includes(shell as (typeof SHELLS)[number])) {
    throw new HkaError('HKA_USAGE', `there is no completion for "${shell}"; there is: ${SHELLS.join(', ')}`);
  }
  const cases = collect(program, '')
    .map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`)
    .join('\n');
  const bash = `# Completion of hashed-key-auth. Made by \`hashed-key-auth completion ${shell}\`.
_hashed_key_auth() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' word words=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) _hashed_key_auth_known "$path" "$word" && path="\${path:+$path }$word" ;; esac
  done
  case $previous in --config|-c|--out|--journal|--kong-conf|--*-file|--file|--pepper-backup|--baseline|--write-baseline) COMPREPLY=($(compgen -f -- "$current")); return ;; esac
  _hashed_key_auth_words "$path"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ \${#COMPREPLY[@]} -eq 0 && $current != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
_hashed_key_auth_known() {
  local words=''
  _hashed_key_auth_words "$1"
  [[ " $words " == *" $2 "* ]]
}
_hashed_key_auth_words() {
  case $1 in
${cases}
    *) words='' ;;
  esac
}
complete -F _hashed_key_auth hashed-key-auth
`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function collect(command: Command, path: string): Words[] {
  const options = command.options.map(({ long, short }) => long ?? short ?? '').filter((word) => word !== '');
  const words = [...command.commands.map((child) => child.name()), ...options, '--help'];
  return [
    { path, words },
    ...command.commands.flatMap((child) =>
      collect(child, path === '' ? child.name() : `${path} ${child.name()}`),
    ),
  ];
}
