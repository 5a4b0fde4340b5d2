/* The file of a backup: see backup_file.h. */
#include "node/core/backup_file.h"

#include "base/cursor.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1
#define HEAD_BYTES 12
#define SUM_BYTES 32
#define TAIL_BYTES (8 + SUM_BYTES)

static const struct span MAGIC = { "TPBACKUP", 8 };

static int sum_of(struct span s, uint8_t sum[EVP_MAX_MD_SIZE])
{
    return EVP_Digest(s.p, s.n, sum, NULL, EVP_sha256(), NULL) == 1 ? 0 : ERR_FAILED;
}

int backup_file_put(struct span state, struct buf *out)
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    buf_put_span(out, MAGIC);
    buf_put_u32(out, FORMAT);
    buf_put_span(out, state);
    buf_put_u64(out, state.n);
    int err = buf_err(out) != 0 ? buf_err(out) : sum_of(buf_span(out), sum);
    return err != 0 ? err : buf_put(out, sum, SUM_BYTES);
}

static int read_whole(const char *path, struct buf *out)
{
    struct stat st;
    static char piece[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 || fstat(fd, &st) != 0 ? -errno : 0;
    if (err == 0 && !S_ISREG(st.st_mode))
        err = ERR_BAD;
    ssize_t n = 1;
    while (err == 0 && (n = read(fd, piece, sizeof piece)) != 0) {
        if (n > 0)
            err = buf_put(out, piece, (size_t)n);
        else if (errno != EINTR)
            err = -errno;
    }
    if (fd >= 0)
        close(fd);
    return err;
}

/* What the file holds: a part of `file`. */
static int find_state(struct span file, struct span *state, const char **words)
{
    struct cursor c;
    uint8_t sum[EVP_MAX_MD_SIZE];
    cursor_init(&c, file.p, file.n);
    struct span magic = cursor_bytes(&c, MAGIC.n);
    uint32_t format = cursor_u32(&c);
    *words = "is no backup of a cluster";
    if (cursor_err(&c) != 0 || !span_eq(magic, MAGIC))
        return ERR_CORRUPT;
    *words = "is of a newer version of this program";
    if (format != FORMAT)
        return ERR_NOT_FOUND;
    *words = "is damaged, or some of it is missing: its checksum is wrong";
    if (cursor_left(&c) < TAIL_BYTES)
        return ERR_TORN;
    size_t before_sum = file.n - SUM_BYTES;
    if (sum_of(span_of(file.p, before_sum), sum) != 0 || memcmp(sum, file.p + before_sum, SUM_BYTES) != 0)
        return ERR_CORRUPT;
    *state = cursor_bytes(&c, cursor_left(&c) - TAIL_BYTES);
    return cursor_u64(&c) == state->n ? 0 : ERR_CORRUPT;
}

int backup_file_read(const char *path, struct buf *state, struct buf *why)
{
    struct buf file;
    struct span found;
    const char *words = NULL;
    buf_init(&file, BACKUP_FILE_MAX);
    int err = read_whole(path, &file);
    words = err_text(err);
    if (err == 0)
        err = find_state(buf_span(&file), &found, &words);
    if (err == 0) {
        memmove(file.data, found.p, found.n);
        file.len = found.n;
        buf_fini(state);
        *state = file;
        return 0;
    }
    buf_printf(why, "%s %s", path, words);
    buf_fini(&file);
    return err;
}
