/** What we do to the text of SQL before DuckDB sees it. Knows quotes and comments, nothing else. */

/** Pieces of SQL text: quoted strings, quoted names and comments are one piece each. */
const PIECES =
  /'(?:[^']|'')*'?|"(?:[^"]|"")*"?|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|\$(\w*)\$[\s\S]*?(?:\$\1\$|$)|[A-Za-z_0-9]+|[\s\S]/g;

/**
 * Splits text into statements at semicolons, without them; empty ones are left out. Numbers in
 * hexadecimal, such as 0x1ffe, become decimal: DuckDB does not read them.
 */
export function splitStatements(text: string): string[] {
  const { statements, rest } = takeStatements(text);
  return rest.trim() ? [...statements, rest.trim()] : statements;
}

/** The statements of the text that end with a semicolon, and what follows them. */
export function takeStatements(text: string): { statements: string[]; rest: string } {
  const statements: string[] = [];
  let current = '';
  let hasCode = false;
  for (const [piece] of text.matchAll(PIECES)) {
    if (piece === ';') {
      if (hasCode) statements.push(current.trim());
      current = '';
      hasCode = false;
      continue;
    }
    const isComment = piece.startsWith('--') || piece.startsWith('/*');
    if (!isComment && piece.trim()) hasCode = true;
    current += /^0x[0-9a-f]+$/i.test(piece) ? BigInt(piece).toString() : piece;
  }
  return { statements, rest: hasCode ? current : '' };
}
