/* A QEMU plugin (user mode, one thread): how often every block of instructions ran, what the data caches of a core would
 * have missed, and how many pages of memory the guest used.
 *
 *     -plugin libcounter.so,output=FILE[,caches=KIB:WAYS/KIB:WAYS/...][,clock=FILE]
 *
 * A block is counted by an addition in the translated code, so the count is exact. The runner marks moments by a system
 * call that does nothing; every counter is noted then. The file that is written at the end has one line for each of
 *
 *     threads COUNT
 *     moment INDEX PEAK_PAGES ACCESSES MISSES_OF_LEVEL_1 ...
 *     block ADDRESS COUNT_AT_MOMENT_0 COUNT_AT_MOMENT_1 COUNT_AT_MOMENT_2 CODE
 *
 * with CODE in hexadecimal, eight digits an instruction, and blocks that ran between the first and the last moment only.
 * Caches are inclusive of nothing: a line that misses in one level is looked for in the next and put in both; lines are
 * 64 bytes, the least recently used goes. Page tables do not exist here: virtual addresses index all levels. Without
 * caches, loads and stores are not looked at, which is faster.
 *
 * The file `clock` is what clock.c reads: the instructions so far, eight bytes, whenever the guest asks by a fourth mark.
 *
 * Plugin interface 1, as in QEMU 6.0 to 8.2. Debian ships no qemu-plugin.h: the prototypes used are declared here. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, CALLBACK_READS_NO_REGISTERS = 0, READS_AND_WRITES = 3 };

EXPORT int qemu_plugin_version = 1;

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern unsigned int qemu_plugin_mem_size_shift(uint32_t);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned int));
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_plugin_insn *, void (*)(unsigned int, uint32_t, uint64_t, void *), int, int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t));
extern void qemu_plugin_register_vcpu_syscall_ret_cb(plugin_id, void (*)(plugin_id, unsigned int, int64_t, int64_t));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

enum { MOMENTS = 3, MOST_LEVELS = 3, LINE_BITS = 6, PAGE_BITS = 12, ADDRESS_BITS = 48 };

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fputs("counter: no memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* Pages that the guest has touched and not given back: a bit for each, in leaves made when needed. */

enum { LEAF_BITS = 18 };
static uint64_t *leaves[1 << (ADDRESS_BITS - PAGE_BITS - LEAF_BITS)];
static uint64_t pages, peak_pages;

static void touch(uint64_t page) {
    static uint64_t last = UINT64_MAX;
    uint64_t leaf = page >> LEAF_BITS, index = page & ((1u << LEAF_BITS) - 1), bit = UINT64_C(1) << (index % 64);
    if (page >> (ADDRESS_BITS - PAGE_BITS)) return;
    if (page == last && leaves[leaf] && leaves[leaf][index / 64] & bit) return;
    last = page;
    if (!leaves[leaf]) leaves[leaf] = zeroed((1u << LEAF_BITS) / 64, sizeof(uint64_t));
    if (leaves[leaf][index / 64] & bit) return;
    leaves[leaf][index / 64] |= bit;
    if (++pages > peak_pages) peak_pages = pages;
}

static bool give_back(uint64_t page) {
    uint64_t leaf = page >> LEAF_BITS, index = page & ((1u << LEAF_BITS) - 1), bit = UINT64_C(1) << (index % 64);
    if (page >> (ADDRESS_BITS - PAGE_BITS) || !leaves[leaf] || !(leaves[leaf][index / 64] & bit)) return false;
    leaves[leaf][index / 64] &= ~bit;
    pages--;
    return true;
}

static uint64_t page_after(uint64_t address) {
    return (address + (1u << PAGE_BITS) - 1) >> PAGE_BITS;
}

static void give_back_range(uint64_t start, uint64_t length) {
    if (length >> ADDRESS_BITS) return;
    for (uint64_t page = start >> PAGE_BITS; page < page_after(start + length); page++) give_back(page);
}

/* Data caches. */

typedef struct {
    uint64_t sets, ways, misses;
    uint64_t *lines; /* sets × ways, the most recently used first */
} Cache;
static Cache caches[MOST_LEVELS];
static unsigned int levels;
static uint64_t accesses;

static bool hits(Cache *cache, uint64_t line) {
    uint64_t *set = cache->lines + line % cache->sets * cache->ways, way = 0;
    if (set[0] == line) return true;
    while (way < cache->ways - 1 && set[way] != line) way++;
    bool hit = set[way] == line;
    memmove(set + 1, set, way * sizeof *set);
    set[0] = line;
    cache->misses += !hit;
    return hit;
}

static void on_access(unsigned int vcpu, uint32_t info, uint64_t address, void *unused) {
    (void)vcpu, (void)unused;
    uint64_t last = address + (UINT64_C(1) << qemu_plugin_mem_size_shift(info)) - 1;
    accesses++;
    touch(address >> PAGE_BITS);
    touch(last >> PAGE_BITS);
    for (uint64_t line = address >> LINE_BITS; line <= last >> LINE_BITS; line++)
        for (unsigned int level = 0; level < levels && !hits(&caches[level], line); level++) continue;
}

/* Blocks. */

typedef struct Block {
    struct Block *next;
    uint64_t address, count, noted[MOMENTS];
    size_t instructions;
    uint32_t code[];
} Block;
static Block *blocks;
static unsigned int threads;
static uint64_t instructions_so_far; /* kept for the clock only */
static FILE *clock_file;

static void on_thread(plugin_id id, unsigned int vcpu) {
    (void)id, (void)vcpu;
    threads++;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t instructions = qemu_plugin_tb_n_insns(tb);
    Block *block = zeroed(1, sizeof *block + instructions * sizeof *block->code);
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = instructions;
    for (size_t index = 0; index < instructions; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, index);
        memcpy(&block->code[index], qemu_plugin_insn_data(instruction), sizeof *block->code);
        if (levels) qemu_plugin_register_vcpu_mem_cb(instruction, on_access, CALLBACK_READS_NO_REGISTERS, READS_AND_WRITES, NULL);
    }
    touch(block->address >> PAGE_BITS);
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block->count, 1);
    if (clock_file) qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &instructions_so_far, instructions);
}

/* System calls, with AArch64's numbers. */

enum { GETPRIORITY = 141, BRK = 214, MUNMAP = 215, MREMAP = 216, MMAP = 222, MADVISE = 233 };
enum { MARK = 0x4d424d4b, MAP_FIXED = 0x10, MADV_DONTNEED = 4 };
static struct { bool seen; uint64_t peak_pages, accesses, misses[MOST_LEVELS]; } noted[MOMENTS];
static uint64_t program_break, moved_from, moved_length;

static void note(uint64_t moment) {
    noted[moment].seen = true;
    noted[moment].peak_pages = peak_pages;
    noted[moment].accesses = accesses;
    for (unsigned int level = 0; level < levels; level++) noted[moment].misses[level] = caches[level].misses;
    for (Block *block = blocks; block; block = block->next) block->noted[moment] = block->count;
}

static void tick(void) {
    rewind(clock_file);
    if (fwrite(&instructions_so_far, sizeof instructions_so_far, 1, clock_file) != 1 || fflush(clock_file)) {
        perror("counter: clock");
        exit(1);
    }
}

static void on_call(plugin_id id, unsigned int vcpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                    uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)vcpu, (void)e, (void)f, (void)g, (void)h;
    if (number == GETPRIORITY && a == MARK && b < MOMENTS) note(b);
    if (number == GETPRIORITY && a == MARK && b == MOMENTS && clock_file) tick();
    if (number == MUNMAP || (number == MMAP && d & MAP_FIXED) || (number == MADVISE && c == MADV_DONTNEED))
        give_back_range(a, b);
    moved_from = a;
    moved_length = b;
}

static void on_return(plugin_id id, unsigned int vcpu, int64_t number, int64_t result) {
    (void)id, (void)vcpu;
    uint64_t address = (uint64_t)result;
    if (result < 0) return;
    if (number == BRK) {
        if (address < program_break) give_back_range(address, program_break - address);
        program_break = address;
    }
    if (number == MREMAP && address != moved_from) /* moved pages are not touched, but there */
        for (uint64_t page = moved_from >> PAGE_BITS; page < page_after(moved_from + moved_length); page++)
            if (give_back(page)) touch(page - (moved_from >> PAGE_BITS) + (address >> PAGE_BITS));
}

static void write_counts(plugin_id id, void *path) {
    (void)id;
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return;
    }
    fprintf(file, "threads %u\n", threads);
    for (unsigned int moment = 0; moment < MOMENTS; moment++) {
        if (!noted[moment].seen) continue;
        fprintf(file, "moment %u %" PRIu64 " %" PRIu64, moment, noted[moment].peak_pages, noted[moment].accesses);
        for (unsigned int level = 0; level < levels; level++) fprintf(file, " %" PRIu64, noted[moment].misses[level]);
        fputc('\n', file);
    }
    for (Block *block = blocks; block; block = block->next) {
        if (block->noted[MOMENTS - 1] == block->noted[0]) continue;
        fprintf(file, "block %" PRIx64, block->address);
        for (unsigned int moment = 0; moment < MOMENTS; moment++) fprintf(file, " %" PRIu64, block->noted[moment]);
        fputc(' ', file);
        for (size_t index = 0; index < block->instructions; index++) fprintf(file, "%08" PRIx32, block->code[index]);
        fputc('\n', file);
    }
    fputs("end\n", file);
    if (fclose(file)) perror(path);
}

static bool read_caches(const char *text) {
    for (levels = 0; *text && levels < MOST_LEVELS; levels++) {
        unsigned int kib, ways;
        int used = 0;
        if (sscanf(text, "%u:%u%n", &kib, &ways, &used) != 2 || !kib || !ways || kib > 1 << 20) return false;
        Cache *cache = &caches[levels];
        cache->ways = ways;
        cache->sets = (UINT64_C(1024) * kib >> LINE_BITS) / ways;
        if (!cache->sets) return false;
        cache->lines = zeroed(cache->sets * ways, sizeof(uint64_t)); /* no guest has line 0 */
        text += used + (text[used] == '/');
    }
    return levels && !*text;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *information, int count, char **arguments) {
    (void)information;
    char *output = NULL;
    bool usable = true;
    for (int index = 0; index < count; index++) {
        if (!strncmp(arguments[index], "output=", 7)) output = strdup(arguments[index] + 7);
        else if (!strncmp(arguments[index], "caches=", 7)) usable = usable && read_caches(arguments[index] + 7);
        else if (!strncmp(arguments[index], "clock=", 6)) usable = usable && (clock_file = fopen(arguments[index] + 6, "w"));
        else usable = false;
    }
    if (!usable || !output) {
        fputs("counter: expected output=FILE[,caches=KIB:WAYS/KIB:WAYS...][,clock=FILE]\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_init_cb(id, on_thread);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, on_return);
    qemu_plugin_register_atexit_cb(id, write_counts, output);
    return 0;
}
