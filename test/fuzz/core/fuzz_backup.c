/* Any bytes as the file of a backup. The first byte chooses: 0, the file as it is; 1, with a checksum that is
 * right; else the state that is in it, which must come back, and with one bit of the file turned must not. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/backup_file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define SUM_BYTES 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_back(struct span file, struct buf *state)
{
    static int fd = -1;
    char path[64];
    struct buf why;
    if (fd < 0)
        fd = memfd_create("backup", MFD_CLOEXEC);
    ensure(fd >= 0);
    ensure(ftruncate(fd, 0) == 0);
    ensure(pwrite(fd, file.p, file.n, 0) == (ssize_t)file.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    buf_init(state, SIZE_MAX);
    buf_init(&why, 1024);
    int err = backup_file_read(path, state, &why);
    ensure((err == 0) == (why.len == 0));
    buf_fini(&why);
    return err;
}

static void try_file(struct span file)
{
    struct buf state, again;
    if (read_back(file, &state) == 0) { /* there is one file only with that state */
        buf_init(&again, SIZE_MAX);
        ensure(backup_file_put(buf_span(&state), &again) == 0);
        ensure(span_eq(buf_span(&again), file));
        buf_fini(&again);
    }
    buf_fini(&state);
}

static void try_sum(struct span bytes)
{
    struct buf file;
    uint8_t sum[EVP_MAX_MD_SIZE];
    buf_init(&file, SIZE_MAX);
    ensure(EVP_Digest(bytes.p, bytes.n, sum, NULL, EVP_sha256(), NULL) == 1);
    buf_put_span(&file, bytes);
    ensure(buf_put(&file, sum, SUM_BYTES) == 0);
    try_file(buf_span(&file));
    buf_fini(&file);
}

static void try_state(uint8_t where, struct span bytes)
{
    struct buf file, state;
    buf_init(&file, SIZE_MAX);
    ensure(backup_file_put(bytes, &file) == 0);
    ensure(read_back(buf_span(&file), &state) == 0);
    ensure(span_eq(buf_span(&state), bytes));
    buf_fini(&state);
    file.data[where * file.len / 256] ^= (char)(1 << where % 8);
    int err = read_back(buf_span(&file), &state);
    ensure(err == ERR_CORRUPT || err == ERR_NOT_FOUND);
    buf_fini(&state);
    buf_fini(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span rest = span_of(data + 1, size - 1);
    if (data[0] == 0)
        try_file(rest);
    else if (data[0] == 1)
        try_sum(rest);
    else
        try_state(data[0], rest);
    return 0;
}
