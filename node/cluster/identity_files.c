/* The identity's folder: files with their modes, and replacing several at once.
 *
 * A replacement writes NAME.new for each file and syncs it, then makes "replace" (which lists the files that
 * shall vanish) and syncs the folder: from here on it has happened. Then the new files are renamed over the
 * old ones, and "replace" is removed last. What a crash can leave:
 *
 *     NAME.new without "replace"     nothing has happened: the next replacement removes them
 *     "replace"                      the renames that are still to do are done
 */
#include "base/err.h"
#include "base/file.h"
#include "node/cluster/identity_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "replace"

/* In the order in which they are put in place: member.json says that the others are there. */
static const char *const names[] = { "ca.pem", "node.pem", "node.key", "secret", "member.json" };
#define NAMES (sizeof names / sizeof *names)

int identity_say(struct buf *why, int err, const char *dir, const char *file, const char *words)
{
    if (why != NULL)
        buf_printf(why, "%s%s%s: %s", dir, file == NULL ? "" : "/", file == NULL ? "" : file, words);
    return err;
}

void identity_wipe(struct buf *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->cap);
}

static int say_errno(struct buf *why, const char *dir, const char *file)
{
    int err = -errno;
    return identity_say(why, err, dir, file, strerror(-err));
}

/* Root may keep the files of the service's user, and the other way round; nobody else. */
static bool owner_ok(uid_t owner, uid_t folder_owner)
{
    return owner == geteuid() || owner == 0 || (geteuid() == 0 && owner == folder_owner);
}

int identity_open(const char *dir, int *fd, struct buf *why)
{
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : say_errno(why, dir, NULL);
    struct stat st;
    int err = 0;
    char words[128];
    if (fstat(*fd, &st) != 0) {
        err = say_errno(why, dir, NULL);
    } else if (!owner_ok(st.st_uid, st.st_uid)) {
        snprintf(words, sizeof words,
                 "belongs to user %u, not to user %u that this program runs as: chown it",
                 (unsigned)st.st_uid, (unsigned)geteuid());
        err = identity_say(why, ERR_DENIED, dir, NULL, words);
    } else if ((st.st_mode & 077) != 0) {
        snprintf(words, sizeof words, "others have access (mode %04o): chmod 700 it", st.st_mode & 07777u);
        err = identity_say(why, ERR_DENIED, dir, NULL, words);
    }
    if (err != 0) {
        close(*fd);
        *fd = -1;
    }
    return err;
}

static int check_modes(int dir_fd, int fd, const char *dir, const char *name, bool secret, struct buf *why)
{
    struct stat st, folder;
    if (fstat(fd, &st) != 0 || fstat(dir_fd, &folder) != 0)
        return say_errno(why, dir, name);
    if (!S_ISREG(st.st_mode))
        return identity_say(why, ERR_DENIED, dir, name, "not a regular file");
    char words[128];
    if (!owner_ok(st.st_uid, folder.st_uid)) {
        snprintf(words, sizeof words,
                 "belongs to user %u, not to user %u that this program runs as: chown it",
                 (unsigned)st.st_uid, (unsigned)geteuid());
        return identity_say(why, ERR_DENIED, dir, name, words);
    }
    if ((st.st_mode & (secret ? 077 : 022)) != 0) {
        snprintf(words, sizeof words, "others have access (mode %04o): chmod 600 it", st.st_mode & 07777u);
        return identity_say(why, ERR_DENIED, dir, name, words);
    }
    return 0;
}

int identity_read(int fd, const char *dir, const char *name, bool secret, struct buf *out, struct buf *why)
{
    int f = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (f < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : say_errno(why, dir, name);
    int err = check_modes(fd, f, dir, name, secret, why);
    while (err == 0) {
        /* the whole room at once: growing would leave copies of a secret in freed memory */
        if (out->cap < out->max && buf_reserve(out, out->max - out->len) != 0)
            err = identity_say(why, -ENOMEM, dir, name, strerror(ENOMEM));
        ssize_t n = err != 0 ? 0 : read(f, out->data + out->len, out->max - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = say_errno(why, dir, name);
        if (n <= 0)
            break;
        out->len += (size_t)n;
        if (out->len == out->max)
            err = identity_say(why, ERR_CORRUPT, dir, name, "too long");
    }
    close(f);
    return err;
}

static int write_synced(int fd, const char *name, struct span content)
{
    int f = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f < 0)
        return -errno;
    int err = 0;
    struct stat folder;
    /* the command line may run as root, the service as another user */
    if (geteuid() == 0 && (fstat(fd, &folder) != 0 || fchown(f, folder.st_uid, folder.st_gid) != 0))
        err = -errno;
    if (err == 0)
        err = file_write_all(f, content);
    if (err == 0 && fsync(f) != 0)
        err = -errno;
    if (close(f) != 0 && err == 0)
        err = -errno;
    return err;
}

static void new_name(const char *name, char out[64])
{
    snprintf(out, 64, "%s.new", name);
}

/* Puts the new files in place. `vanish` lists, a line each, those that shall not be. */
static int put_in_place(int fd, struct span vanish)
{
    for (size_t i = 0; i < NAMES; i++) {
        char fresh[64];
        new_name(names[i], fresh);
        if (renameat(fd, fresh, fd, names[i]) != 0 && errno != ENOENT)
            return -errno;
        struct span line = span_str(names[i]);
        if (span_starts(vanish, line) && unlinkat(fd, names[i], 0) != 0 && errno != ENOENT)
            return -errno;
    }
    if (fsync(fd) != 0 || unlinkat(fd, MARK, 0) != 0 || fsync(fd) != 0)
        return -errno;
    return 0;
}

static void remove_fresh(int fd)
{
    for (size_t i = 0; i < NAMES; i++) {
        char fresh[64];
        new_name(names[i], fresh);
        unlinkat(fd, fresh, 0);
    }
    unlinkat(fd, MARK ".new", 0);
}

int identity_replace(int fd, const char *dir, const struct identity_file *files, size_t n, struct buf *why)
{
    struct span vanish = { 0 };
    int err = 0;
    remove_fresh(fd);
    for (size_t i = 0; err == 0 && i < n; i++) {
        char fresh[64];
        new_name(files[i].name, fresh);
        if (files[i].content.n == 0)
            vanish = span_str(files[i].name); /* only the secret can be missing */
        else
            err = write_synced(fd, fresh, files[i].content);
        if (err != 0)
            identity_say(why, err, dir, files[i].name, strerror(-err));
    }
    if (err != 0) {
        remove_fresh(fd);
        return err;
    }
    if ((err = write_synced(fd, MARK ".new", vanish)) == 0 && fsync(fd) != 0)
        err = -errno;
    if (err == 0 && (renameat(fd, MARK ".new", fd, MARK) != 0 || fsync(fd) != 0))
        err = -errno;
    if (err == 0)
        err = put_in_place(fd, vanish);
    return err == 0 ? 0 : identity_say(why, err, dir, NULL, strerror(-err));
}

int identity_finish(int fd, const char *dir, struct buf *why)
{
    struct buf mark;
    buf_init(&mark, 64);
    int err = identity_read(fd, dir, MARK, false, &mark, why);
    if (err == 0 && (err = put_in_place(fd, buf_span(&mark))) != 0)
        identity_say(why, err, dir, NULL, strerror(-err));
    buf_fini(&mark);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int identity_sync_parent(const char *dir, struct buf *why)
{
    char *copy = strdup(dir);
    if (copy == NULL)
        return identity_say(why, -ENOMEM, dir, NULL, strerror(ENOMEM));
    int err = 0;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        err = say_errno(why, dir, NULL);
    if (fd >= 0)
        close(fd);
    free(copy);
    return err;
}
