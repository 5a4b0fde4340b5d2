/* What is counted, as a file: a line for each domain and day, in the form of a report. A later line about the
 * same replaces the earlier one, `"done": true` removes it. So little is written while mail goes on, and what
 * a crash leaves of the last line is passed over. The lock is held for one line at a time.
 */
#include "node/tlspolicy/rpt_impl.h"

#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX_DAYS 3 /* what is older was never sent, and is of no use any more */
#define PIECE_BYTES (64u << 10)
#define LINE_BYTES (4u << 20) /* over what the bounds of a domain allow */
#define SLACK_BYTES (4u << 20)

/* Lines of what has changed, until nothing has. */
static int put_changed(struct rpt *r, int fd, struct buf *b, uint64_t *bytes)
{
    int err = 0;
    bool more = true;
    while (more && err == 0) {
        pthread_mutex_lock(&r->lock);
        struct list *l = list_pop_front(&r->changed);
        more = l != NULL;
        if (more) {
            struct rpt_domain *d = LIST_ITEM(l, struct rpt_domain, changed);
            err = rpt_domain_line(d, b);
            d->written = true;
        }
        pthread_mutex_unlock(&r->lock);
        if (err == 0 && (b->len >= PIECE_BYTES || !more)) {
            *bytes += b->len;
            err = file_write_all(fd, buf_span(b));
            if (err == 0)
                buf_reset(b);
        }
    }
    return err;
}

static int finish(struct rpt *r, int fd, int err, struct buf *b)
{
    if (err == 0 && fdatasync(fd) != 0)
        err = -errno;
    if (close(fd) != 0 && err == 0)
        err = -errno;
    buf_fini(b);
    if (err != 0) { /* what the file lacks is not known */
        pthread_mutex_lock(&r->lock);
        r->rewrite = true;
        pthread_mutex_unlock(&r->lock);
    }
    return err;
}

static int save(struct rpt *r, const char *file)
{
    char fresh[4096];
    if (snprintf(fresh, sizeof fresh, "%s.new", file) >= (int)sizeof fresh)
        return ERR_LIMIT;
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    struct buf b;
    uint64_t bytes = 0;
    buf_init(&b, LINE_BYTES + PIECE_BYTES);
    pthread_mutex_lock(&r->lock);
    LIST_EACH(link, &r->domains)
    rpt_domain_changed(r, LIST_ITEM(link, struct rpt_domain, link));
    buf_reset(&r->gone);
    r->rewrite = false;
    pthread_mutex_unlock(&r->lock);
    int err = finish(r, fd, put_changed(r, fd, &b, &bytes), &b);
    if (err == 0 && rename(fresh, file) != 0)
        err = -errno;
    pthread_mutex_lock(&r->lock);
    r->rewrite = r->rewrite || err != 0;
    r->file_bytes = r->whole_bytes = bytes;
    pthread_mutex_unlock(&r->lock);
    return err;
}

static int keep(struct rpt *r, const char *file)
{
    struct buf b;
    buf_init(&b, LINE_BYTES + PIECE_BYTES);
    pthread_mutex_lock(&r->lock);
    bool nothing = !r->rewrite && list_empty(&r->changed) && r->gone.len == 0;
    bool whole = r->rewrite || r->file_bytes > 2 * r->whole_bytes + SLACK_BYTES;
    int err = nothing || whole ? 0 : buf_put_span(&b, buf_span(&r->gone));
    if (!nothing && !whole)
        buf_reset(&r->gone);
    pthread_mutex_unlock(&r->lock);
    int fd = nothing || whole ? -1 : open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (nothing || fd < 0 || err != 0) {
        buf_fini(&b);
        if (fd >= 0)
            close(fd);
        return nothing ? 0 : save(r, file);
    }
    uint64_t bytes = 0;
    err = finish(r, fd, put_changed(r, fd, &b, &bytes), &b);
    pthread_mutex_lock(&r->lock);
    r->file_bytes += bytes;
    pthread_mutex_unlock(&r->lock);
    return err;
}

int rpt_save(struct rpt *r, const char *file)
{
    pthread_mutex_lock(&r->file_lock);
    int err = save(r, file);
    pthread_mutex_unlock(&r->file_lock);
    return err;
}

int rpt_keep(struct rpt *r, const char *file)
{
    pthread_mutex_lock(&r->file_lock);
    int err = keep(r, file);
    pthread_mutex_unlock(&r->file_lock);
    return err;
}

int rpt_load(struct rpt *r, const char *file, int64_t now_ms)
{
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return errno == ENOENT ? 0 : -errno;
    char *line = NULL;
    size_t cap = 0;
    int64_t today = now_ms / RPT_DAY_MS;
    pthread_mutex_lock(&r->lock);
    while (getline(&line, &cap, f) >= 0)
        rpt_line_take(r, line, today - FILE_MAX_DAYS, today);
    r->rewrite = true; /* its end may be torn */
    pthread_mutex_unlock(&r->lock);
    free(line);
    fclose(f);
    return 0;
}
