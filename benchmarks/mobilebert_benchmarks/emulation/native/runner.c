/* Runs one signature of a .tflite file through LiteRT's C API, and prints what it saw as one line of JSON.
 *
 *     runner LIBRARY MODEL SIGNATURE WARMUPS RUNS THREADS PROFILE
 *
 * LIBRARY is libLiteRt.so. SIGNATURE is an index. The inputs are those of a BERT: integers, told apart by their names,
 * text in every position. PROFILE is 1 to list the operators of the measured runs as the runtime's profiler names them,
 * with their microseconds, 0 to leave the runtime alone. Exit codes: 2 the call, 3 the library, 4 the model.
 *
 * A system call that does nothing marks three moments for the plugin: before the model is loaded, before the measured
 * inferences and after them. The prototypes are those of LiteRT 2.3's public C headers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TENSORS = 16, MOST_RUNS = 10000 };
enum { BAD_CALL = 2, BAD_LIBRARY = 3, BAD_MODEL = 4 };
enum { OPERATOR = 2, DELEGATED_OPERATOR = 8 }; /* tflite::Profiler::EventType; the second is of one inside a delegate */
enum { CPU = 1, LOCK_READ = 0, LOCK_WRITE = 1 };
enum { FLOAT32 = 1, INT32 = 2, INT64 = 4 };
enum { BEFORE_LOAD = 0, BEFORE_RUNS = 1, AFTER_RUNS = 2 };

typedef int Status;
typedef struct Handle *Handle;
typedef struct {
    unsigned int rank : 7;
    unsigned int has_strides : 1;
    int32_t dimensions[8];
    uint32_t strides[8];
} Layout;
typedef struct {
    int element_type;
    Layout layout;
} TensorType;
typedef struct {
    size_t total_bytes, used_bytes, private_bytes;
} MemoryUsage;
typedef struct {
    const char *tag;
    int type;
    uint64_t start_us, elapsed_us;
    MemoryUsage before, after;
    uint64_t index, subgraph;
    int source;
} Event;

#define FUNCTIONS(DECLARE) \
    DECLARE(CreateEnvironment, int, const void *, Handle *) \
    DECLARE(CreateModelFromFile, Handle, const char *, Handle *) \
    DECLARE(CreateOptions, Handle *) \
    DECLARE(SetOptionsHardwareAccelerators, Handle, int) \
    DECLARE(CreateOpaqueOptions, const char *, void *, void (*)(void *), Handle *) \
    DECLARE(AddOpaqueOptions, Handle, Handle) \
    DECLARE(CreateCompiledModel, Handle, Handle, Handle, Handle *) \
    DECLARE(CompiledModelGetProfiler, Handle, Handle *) \
    DECLARE(StartProfiler, Handle) \
    DECLARE(GetNumProfilerEvents, Handle, int *) \
    DECLARE(GetProfilerEvents, Handle, int, Event *) \
    DECLARE(GetNumModelSignatures, Handle, size_t *) \
    DECLARE(GetModelSignature, Handle, size_t, Handle *) \
    DECLARE(GetNumSignatureInputs, Handle, size_t *) \
    DECLARE(GetNumSignatureOutputs, Handle, size_t *) \
    DECLARE(GetSignatureInputName, Handle, size_t, const char **) \
    DECLARE(GetSignatureInputTensorByIndex, Handle, size_t, Handle *) \
    DECLARE(GetSignatureOutputTensorByIndex, Handle, size_t, Handle *) \
    DECLARE(GetRankedTensorType, Handle, TensorType *) \
    DECLARE(GetCompiledModelInputBufferRequirements, Handle, size_t, size_t, Handle *) \
    DECLARE(GetCompiledModelOutputBufferRequirements, Handle, size_t, size_t, Handle *) \
    DECLARE(GetTensorBufferRequirementsBufferSize, Handle, size_t *) \
    DECLARE(CreateManagedTensorBufferFromRequirements, Handle, const TensorType *, Handle, Handle *) \
    DECLARE(LockTensorBuffer, Handle, void **, int) \
    DECLARE(UnlockTensorBuffer, Handle) \
    DECLARE(RunCompiledModel, Handle, size_t, size_t, Handle *, size_t, Handle *)

#define DECLARE(name, ...) static Status (*name)(__VA_ARGS__);
FUNCTIONS(DECLARE)
#undef DECLARE

typedef struct {
    Handle buffer;
    TensorType type;
    size_t bytes;
} Tensor;

static void fail(int code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(code);
}

static void check(Status status, const char *what) {
    if (status) fail(BAD_MODEL, "LiteRt%s gave status %d", what, status);
}
#define CALL(name, ...) check(name(__VA_ARGS__), #name)

static void mark(int moment) {
    syscall(SYS_getpriority, 0x4d424d4bL, (long)moment); /* no such `which`: EINVAL, and nothing done */
}

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void load_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(BAD_LIBRARY, "%s", dlerror());
#define LOOK_UP(name, ...) \
    *(void **)&name = dlsym(library, "LiteRt" #name); \
    if (!name) fail(BAD_LIBRARY, "%s has no LiteRt" #name, path);
    FUNCTIONS(LOOK_UP)
#undef LOOK_UP
}

static void add_option(Handle options, const char *name, char *toml) {
    Handle opaque;
    if (!toml) fail(BAD_CALL, "no memory");
    CALL(CreateOpaqueOptions, name, toml, free, &opaque);
    CALL(AddOpaqueOptions, options, opaque);
}

static Handle compile(Handle environment, Handle model, int threads, bool profile) {
    char *xnnpack = NULL;
    Handle options, compiled;
    CALL(CreateOptions, &options);
    CALL(SetOptionsHardwareAccelerators, options, CPU);
    if (asprintf(&xnnpack, "num_threads = %d\n", threads) < 0) fail(BAD_CALL, "no memory");
    add_option(options, "xnnpack", xnnpack);
    if (profile) add_option(options, "runtime_options_string", strdup("enable_profiling = true\n"));
    CALL(CreateCompiledModel, environment, model, options, &compiled);
    return compiled;
}

static size_t elements(const TensorType *type) {
    size_t count = 1;
    if (type->layout.rank > sizeof type->layout.dimensions / sizeof *type->layout.dimensions)
        fail(BAD_MODEL, "an input has %u dimensions", (unsigned int)type->layout.rank);
    for (unsigned int axis = 0; axis < type->layout.rank; axis++) {
        if (type->layout.dimensions[axis] < 1) fail(BAD_MODEL, "an input has a dimension of %d", type->layout.dimensions[axis]);
        count *= (size_t)type->layout.dimensions[axis];
    }
    return count;
}

/* Ids of 1 to 64 are words in every vocabulary; what they mean changes no instruction. */
static int64_t value(const char *name, size_t position) {
    if (strstr(name, "mask")) return 1;
    if (strstr(name, "type") || strstr(name, "segment")) return 0;
    return 1 + (int64_t)(position * 7 % 64);
}

static void fill(const Tensor *input, const char *name) {
    size_t count = elements(&input->type);
    size_t width = input->type.element_type == INT64 ? sizeof(int64_t) : sizeof(int32_t);
    if (input->type.element_type != INT32 && input->type.element_type != INT64)
        fail(BAD_MODEL, "input %s has element type %d, not int32 or int64", name, input->type.element_type);
    if (count > input->bytes / width) fail(BAD_MODEL, "input %s is larger than its buffer", name);
    void *data;
    CALL(LockTensorBuffer, input->buffer, &data, LOCK_WRITE);
    for (size_t position = 0; position < count; position++) {
        int64_t number = value(name, position);
        if (input->type.element_type == INT64) ((int64_t *)data)[position] = number;
        else ((int32_t *)data)[position] = (int32_t)number;
    }
    CALL(UnlockTensorBuffer, input->buffer);
}

static void allocate(Tensor *tensor, Handle environment, Handle described, Handle requirements) {
    CALL(GetRankedTensorType, described, &tensor->type);
    CALL(GetTensorBufferRequirementsBufferSize, requirements, &tensor->bytes);
    CALL(CreateManagedTensorBufferFromRequirements, environment, &tensor->type, requirements, &tensor->buffer);
}

/* FNV-1a, 64 bits, over all outputs. */
static uint64_t hash(const Tensor *outputs, size_t count) {
    uint64_t state = UINT64_C(0xcbf29ce484222325);
    for (size_t index = 0; index < count; index++) {
        void *data;
        CALL(LockTensorBuffer, outputs[index].buffer, &data, LOCK_READ);
        for (size_t byte = 0; byte < outputs[index].bytes; byte++)
            state = (state ^ ((const uint8_t *)data)[byte]) * UINT64_C(0x100000001b3);
        CALL(UnlockTensorBuffer, outputs[index].buffer);
    }
    return state;
}

/* The MIDR as the first core of /proc/cpuinfo spells it, which is where LiteRT reads it; 0 where there is none. */
static uint32_t midr(void) {
    static const struct { const char *field; int shift; } parts[] = {
        {"CPU implementer", 24}, {"CPU variant", 20}, {"CPU part", 4}, {"CPU revision", 0}};
    uint32_t seen = 0, assembled = 0xf0000; /* the architecture is given by the features */
    char line[4096];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && seen != 15 && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        for (unsigned int part = 0; colon && part < 4; part++)
            if (!(seen >> part & 1) && !strncmp(line, parts[part].field, strlen(parts[part].field))) {
                assembled |= (uint32_t)strtoul(colon + 1, NULL, 0) << parts[part].shift;
                seen |= 1u << part;
            }
    }
    if (file) fclose(file);
    return seen == 15 ? assembled : 0;
}

/* As JSON. A custom operator's name is the file's. */
static void print_operators(Handle profiler) {
    int count = 0;
    bool first = true;
    CALL(GetNumProfilerEvents, profiler, &count);
    Event *events = calloc((size_t)count + 1, sizeof *events);
    if (!events) fail(BAD_CALL, "no memory");
    CALL(GetProfilerEvents, profiler, count, events);
    fputs("\"operators\": [", stdout);
    for (int index = 0; index < count; index++) {
        const Event *event = &events[index];
        if (event->type != OPERATOR && event->type != DELEGATED_OPERATOR) continue;
        printf("%s[\"", first ? "" : ", ");
        first = false;
        for (const char *letter = event->tag; *letter; letter++)
            putchar(*letter < ' ' || *letter > '~' || *letter == '"' || *letter == '\\' ? '?' : *letter);
        printf("\", %s, %" PRIu64 ", %" PRIu64 "]", event->type == DELEGATED_OPERATOR ? "true" : "false", event->index,
               event->elapsed_us);
    }
    fputs("], ", stdout);
}

static long number(const char *text, long most) {
    char *end;
    long result = strtol(text, &end, 10);
    if (*end || end == text || result < 0 || result > most) fail(BAD_CALL, "%s is no number from 0 to %ld", text, most);
    return result;
}

int main(int count, char **arguments) {
    if (count != 8) fail(BAD_CALL, "usage: %s LIBRARY MODEL SIGNATURE WARMUPS RUNS THREADS PROFILE", arguments[0]);
    size_t signature_index = (size_t)number(arguments[3], 1000);
    long warmups = number(arguments[4], MOST_RUNS), runs = number(arguments[5], MOST_RUNS);
    int threads = (int)number(arguments[6], 64);
    bool profile = number(arguments[7], 1);
    static int64_t times[MOST_RUNS];
    load_library(arguments[1]);

    mark(BEFORE_LOAD);
    int64_t start = nanoseconds(CLOCK_MONOTONIC);
    Handle environment, model, signature;
    CALL(CreateEnvironment, 0, NULL, &environment);
    CALL(CreateModelFromFile, environment, arguments[2], &model);
    size_t signatures;
    CALL(GetNumModelSignatures, model, &signatures);
    if (signature_index >= signatures) fail(BAD_MODEL, "no signature %zu among %zu", signature_index, signatures);
    CALL(GetModelSignature, model, signature_index, &signature);
    Handle compiled = compile(environment, model, threads, profile);

    size_t input_count, output_count;
    CALL(GetNumSignatureInputs, signature, &input_count);
    CALL(GetNumSignatureOutputs, signature, &output_count);
    if (input_count > MOST_TENSORS || output_count > MOST_TENSORS)
        fail(BAD_MODEL, "%zu inputs and %zu outputs are more than %d", input_count, output_count, MOST_TENSORS);
    Tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    Handle input_buffers[MOST_TENSORS], output_buffers[MOST_TENSORS], described, requirements;
    for (size_t index = 0; index < input_count; index++) {
        const char *name;
        CALL(GetSignatureInputName, signature, index, &name);
        CALL(GetSignatureInputTensorByIndex, signature, index, &described);
        CALL(GetCompiledModelInputBufferRequirements, compiled, signature_index, index, &requirements);
        allocate(&inputs[index], environment, described, requirements);
        input_buffers[index] = inputs[index].buffer;
        fill(&inputs[index], name);
    }
    for (size_t index = 0; index < output_count; index++) {
        CALL(GetSignatureOutputTensorByIndex, signature, index, &described);
        CALL(GetCompiledModelOutputBufferRequirements, compiled, signature_index, index, &requirements);
        allocate(&outputs[index], environment, described, requirements);
        output_buffers[index] = outputs[index].buffer;
    }
    int64_t first_answer = 0;
    for (long run = 0; run < warmups; run++) {
        CALL(RunCompiledModel, compiled, signature_index, input_count, input_buffers, output_count, output_buffers);
        if (!run) first_answer = nanoseconds(CLOCK_MONOTONIC) - start;
    }

    Handle profiler = NULL;
    if (profile) {
        CALL(CompiledModelGetProfiler, compiled, &profiler);
        CALL(StartProfiler, profiler);
    }
    int64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    mark(BEFORE_RUNS);
    for (long run = 0; run < runs; run++) {
        int64_t before = nanoseconds(CLOCK_MONOTONIC);
        CALL(RunCompiledModel, compiled, signature_index, input_count, input_buffers, output_count, output_buffers);
        times[run] = nanoseconds(CLOCK_MONOTONIC) - before;
    }
    mark(AFTER_RUNS);
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;

    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"hwcap\": %lu, \"hwcap2\": %lu, \"midr\": %" PRIu32 ", ", getauxval(AT_HWCAP), getauxval(AT_HWCAP2), midr());
    if (profile) print_operators(profiler);
    printf("\"output_hash\": \"%016" PRIx64 "\", \"peak_kib\": %ld, ", hash(outputs, output_count), usage.ru_maxrss);
    printf("\"first_answer_ns\": %" PRId64 ", \"cpu_ns\": %" PRId64 ", \"times_ns\": [", first_answer, cpu);
    for (long run = 0; run < runs; run++) printf("%s%" PRId64, run ? ", " : "", times[run]);
    puts("]}");
    fflush(stdout);
    _exit(0); /* what LiteRT would destroy is not measured */
}
