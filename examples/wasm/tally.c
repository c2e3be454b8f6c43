// A reducer for transit.views in C, without a library: tokens and records by run.
//
//     zig cc -target wasm32-freestanding -nostdlib -Os -msimd128 -Wl,--no-entry,-z,stack-size=16384 -o tally_c.wasm tally.c
//
// A record is JSON such as {"run": "run-7", "tokens": 12}; one that has no run is passed over.
// A row is [name, records, tokens].

#include <wasm_simd128.h>

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))
#define SLOTS 1024
#define NAME_MAX 48

struct run {
    u32 size, records;
    u64 tokens;
    u8 name[NAME_MAX];
};

// What is kept from call to call. All else begins anew with each call.
static struct run runs[SLOTS];
static u8 touched[SLOTS];
static u8 *out;

extern u8 __heap_base;
static u8 *top = &__heap_base;

EXPORT(state) u64 state(void) { return (u64)(u32)runs << 32 | sizeof runs; }

EXPORT(alloc) u8 *alloc(u32 size) {
    u8 *place = top;
    u32 room = __builtin_wasm_memory_size(0) << 16;
    top += (size + 7) & ~7u;
    if ((u32)top > room && __builtin_wasm_memory_grow(0, ((u32)top - room + 65535) >> 16) == (u32)-1)
        return 0;
    return place;
}

// The first quote from `at` on, sixteen bytes at once: much is read to find little.
static const u8 *quote(const u8 *at, const u8 *end) {
    const v128_t quotes = wasm_i8x16_splat('"');
    while (at + 16 <= end && !wasm_v128_any_true(wasm_i8x16_eq(wasm_v128_load(at), quotes))) at += 16;
    while (at < end && *at != '"') at++;
    return at;
}

// Whether `field`, which ends with a quote, comes after the quote at `at`.
static int is(const u8 *at, const u8 *end, const char *field, u32 size) {
    u32 same = 0;
    if (at + size >= end) return 0;
    while (same < size && at[1 + same] == (u8)field[same]) same++;
    return same == size;
}

// What comes behind the colon after a name of so many bytes.
static const u8 *value(const u8 *at, const u8 *end, u32 size) {
    for (at += size + 1; at < end && (*at == ' ' || *at == ':'); at++) {}
    return at;
}

static struct run *find(const u8 *name, u32 size) {
    u32 slot = 2166136261u;
    for (u32 n = 0; n < size; n++) slot = (slot ^ name[n]) * 16777619u;
    for (u32 tried = 0; tried < SLOTS; tried++) {
        struct run *run = &runs[slot = (slot + tried) % SLOTS];
        u32 same = 0;
        if (!run->size) {
            run->size = size;
            for (u32 n = 0; n < size; n++) run->name[n] = name[n];
        }
        if (run->size != size) continue;
        while (same < size && run->name[same] == name[same]) same++;
        if (same == size) return run;
    }
    __builtin_trap();  // More runs than there is room for: the view stops here.
}

static void take(const u8 *at, const u8 *end) {
    const u8 *name = 0, *number = end;
    u32 size = 0;
    for (at = quote(at, end); at < end; at = quote(at + 1, end)) {
        if (is(at, end, "run\"", 4)) name = value(at, end, 4);
        else if (is(at, end, "tokens\"", 7)) number = value(at, end, 7);
    }
    if (!name || name == end || *name++ != '"') return;
    while (name + size < end && name[size] != '"') size++;
    if (!size || size > NAME_MAX) return;
    struct run *run = find(name, size);
    u64 tokens = 0;
    for (; number < end && *number >= '0' && *number <= '9'; number++)
        tokens = tokens * 10 + (*number - '0');
    run->records++;
    run->tokens += tokens;
    touched[run - runs] = 1;
}

static void put(u32 byte) { *out++ = (u8)byte; }

static void put_number(u64 number) {
    put(0xcf);
    for (int shift = 56; shift >= 0; shift -= 8) put((u32)(number >> shift));
}

static void put_name(const struct run *run) {
    put(0xd9);
    put(run->size);
    for (u32 n = 0; n < run->size; n++) put(run->name[n]);
}

EXPORT(apply) u64 apply(const u8 *data, u32 size, const u32 *ends, u32 count, const u64 *meta) {
    u32 rows = 0;
    for (u32 n = 0, start = 0; n < count; start = ends[n++]) take(data + start, data + ends[n]);
    u8 *result = alloc(SLOTS * (2 * NAME_MAX + 32) + 3);
    if (!result) __builtin_trap();
    out = result + 3;
    for (u32 n = 0; n < SLOTS; n++) {
        if (!touched[n]) continue;
        rows++;
        put(0x93), put(0), put_name(&runs[n]);
        put(0x93), put_name(&runs[n]), put_number(runs[n].records), put_number(runs[n].tokens);
    }
    size = (u32)(out - result);
    out = result;
    put(0xdc), put(rows >> 8), put(rows);
    return (u64)(u32)result << 32 | size;
}
