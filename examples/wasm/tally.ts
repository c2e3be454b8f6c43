// The reducer of tally.c in AssemblyScript.
//
//     asc tally.ts -O3 --enable simd --runtime stub --use abort= -o tally_as.wasm
//
// What is kept from call to call is a block of memory; objects of the language begin anew.

const SLOTS: u32 = 1024;
const NAME_MAX: u32 = 48;
const RUN: u32 = 64; // u32 size of the name, u32 records, u64 tokens, the name
const RUNS: usize = memory.data(65536, 8);
const TOUCHED: usize = memory.data(1024);

let out: usize = 0;

export function state(): u64 {
  return ((<u64>RUNS) << 32) | 65536;
}

export function alloc(size: usize): usize {
  return heap.alloc(size);
}

// The first quote from `at` on, sixteen bytes at once: much is read to find little.
function quote(at: usize, end: usize): usize {
  const quotes = i8x16.splat(0x22);
  while (at + 16 <= end && !v128.any_true(i8x16.eq(v128.load(at), quotes))) at += 16;
  while (at < end && load<u8>(at) != 0x22) at++;
  return at;
}

// Whether a field's name, which ends with a quote, comes after the quote at `at`.
function is(at: usize, end: usize, field: usize, size: u32): bool {
  return at + size < end && !memory.compare(at + 1, field, size);
}

// What comes behind the colon after a name of so many bytes.
function value(at: usize, end: usize, size: u32): usize {
  at += size + 1;
  while (at < end && (load<u8>(at) == 0x20 || load<u8>(at) == 0x3a)) at++;
  return at;
}

function find(name: usize, size: u32): usize {
  let slot: u32 = 2166136261;
  for (let n: u32 = 0; n < size; n++) slot = (slot ^ load<u8>(name + n)) * 16777619;
  for (let tried: u32 = 0; tried < SLOTS; tried++) {
    slot = (slot + tried) % SLOTS;
    const run = RUNS + slot * RUN;
    if (!load<u32>(run)) {
      store<u32>(run, size);
      memory.copy(run + 16, name, size);
    }
    if (load<u32>(run) == size && !memory.compare(run + 16, name, size)) return run;
  }
  return unreachable(); // More runs than there is room for: the view stops here.
}

const RUN_FIELD: usize = memory.data<u8>([0x72, 0x75, 0x6e, 0x22]); // run"
const TOKENS_FIELD: usize = memory.data<u8>([0x74, 0x6f, 0x6b, 0x65, 0x6e, 0x73, 0x22]); // tokens"

function take(at: usize, end: usize): void {
  let name: usize = 0;
  let number = end;
  for (at = quote(at, end); at < end; at = quote(at + 1, end)) {
    if (is(at, end, RUN_FIELD, 4)) name = value(at, end, 4);
    else if (is(at, end, TOKENS_FIELD, 7)) number = value(at, end, 7);
  }
  if (!name || name == end || load<u8>(name++) != 0x22) return;
  let size: u32 = 0;
  while (name + size < end && load<u8>(name + size) != 0x22) size++;
  if (!size || size > NAME_MAX) return;
  const run = find(name, size);
  let tokens: u64 = 0;
  while (number < end && load<u8>(number) >= 0x30 && load<u8>(number) <= 0x39) {
    tokens = tokens * 10 + (load<u8>(number++) - 0x30);
  }
  store<u32>(run, load<u32>(run, 4) + 1, 4);
  store<u64>(run, load<u64>(run, 8) + tokens, 8);
  store<u8>(TOUCHED + (run - RUNS) / RUN, 1);
}

function put(byte: u32): void {
  store<u8>(out++, byte);
}

function putNumber(number: u64): void {
  put(0xcf);
  store<u64>(out, bswap(number));
  out += 8;
}

function putName(run: usize): void {
  const size = load<u32>(run);
  put(0xd9);
  put(size);
  memory.copy(out, run + 16, size);
  out += size;
}

export function apply(data: usize, size: u32, ends: usize, count: u32, meta: usize): u64 {
  let start: u32 = 0;
  for (let n: u32 = 0; n < count; n++) {
    const end = load<u32>(ends + 4 * n);
    take(data + start, data + end);
    start = end;
  }
  const result = alloc(SLOTS * (2 * NAME_MAX + 32) + 3);
  let rows: u32 = 0;
  out = result + 3;
  for (let n: u32 = 0; n < SLOTS; n++) {
    if (!load<u8>(TOUCHED + n)) continue;
    const run = RUNS + n * RUN;
    rows++;
    put(0x93), put(0), putName(run);
    put(0x93), putName(run), putNumber(load<u32>(run, 4)), putNumber(load<u64>(run, 8));
  }
  size = <u32>(out - result);
  out = result;
  put(0xdc), put(rows >> 8), put(rows);
  return ((<u64>result) << 32) | size;
}
