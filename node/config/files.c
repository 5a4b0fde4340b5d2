/* The files that a configuration names: are they there, may we read them, may too many others; and the
 * secrets in them. Their own content (PEM, trust anchors) is for those who use it.
 */
#include "node/config/check.h"

#include "base/ensure.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 4096 /* bytes of a file with a secret */

/* An open regular file, or -1 and a fault. */
int config_open_file(struct schema_load *l, const char *key, const char *file, struct stat *st)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) != 0) {
        schema_fault_at(l, key, "cannot read %s: %s", file, strerrordesc_np(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        schema_fault_at(l, key, "cannot read %s: it is not a file", file);
        close(fd);
        return -1;
    }
    return fd;
}

static void check_readable(struct schema_load *l, const char *key, const char *file)
{
    struct stat st;
    int fd = config_open_file(l, key, file, &st);
    if (fd >= 0)
        close(fd);
}

bool config_private_enough(struct schema_load *l, const char *key, const char *file, const struct stat *st)
{
    if ((st->st_mode & S_IRWXO) == 0)
        return true;
    schema_fault_at(l, key,
                    "%s holds a secret, but everybody can reach it (mode %04o): chmod 0640 or 0600 it", file,
                    st->st_mode & 07777u);
    return false;
}

static void check_key(struct schema_load *l, const char *key, const char *file)
{
    struct stat st;
    int fd = config_open_file(l, key, file, &st);
    if (fd < 0)
        return;
    config_private_enough(l, key, file, &st);
    close(fd);
}

/* The file's first line, or NULL and a fault. */
static char *read_secret(struct schema_load *l, const char *key, const char *file, size_t min)
{
    struct stat st;
    char text[SECRET_MAX + 1];
    int fd = config_open_file(l, key, file, &st);
    if (fd < 0)
        return NULL;
    bool good = config_private_enough(l, key, file, &st);
    ssize_t n = read(fd, text, SECRET_MAX);
    int err = errno;
    close(fd);
    if (n < 0) {
        schema_fault_at(l, key, "cannot read %s: %s", file, strerrordesc_np(err));
        return NULL;
    }
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    size_t len = strlen(text);
    if (len < min) {
        good = false;
        if (len == 0)
            schema_fault_at(l, key, "%s is empty; its first line is the secret", file);
        else
            schema_fault_at(l, key, "the secret in %s is too short: at least %zu characters", file, min);
    }
    char *copy = good ? strdup(text) : NULL;
    explicit_bzero(text, sizeof text);
    return copy;
}

static void check_listener_files(struct schema_load *l, const struct config_listener *li, uint32_t i)
{
    char key[96];
    for (uint32_t k = 0; k < li->ntls; k++) {
        char base[64];
        snprintf(base, sizeof base, "listeners[%u].tls[%u]", i, k);
        /* One certificate is mostly written without a list: name it as the file does. */
        snprintf(key, sizeof key, "listeners[%u].tls.certificate", i);
        if (k == 0 && li->ntls == 1 && schema_has(l, key))
            snprintf(base, sizeof base, "listeners[%u].tls", i);
        snprintf(key, sizeof key, "%s.certificate", base);
        check_readable(l, key, li->tls[k].certificate);
        snprintf(key, sizeof key, "%s.key", base);
        check_key(l, key, li->tls[k].key);
    }
}

static void check_names(struct schema_load *l, const struct config *c)
{
    if (c->user != NULL && getpwnam(c->user) == NULL)
        schema_fault_at(l, "user", "this machine has no user \"%s\"", c->user);
    if (c->group != NULL && getgrnam(c->group) == NULL)
        schema_fault_at(l, "group", "this machine has no group \"%s\"", c->group);
}

static void check_dir(struct schema_load *l, const char *key, const char *dir)
{
    struct stat st;
    int err = stat(dir, &st) == 0 ? 0 : errno;
    if (err == 0 && !S_ISDIR(st.st_mode))
        schema_fault_at(l, key, "%s is not a directory", dir);
    else if (err != 0 && err != ENOENT) /* a missing one is made at start */
        schema_fault_at(l, key, "cannot use %s: %s", dir, strerrordesc_np(err));
}

/* The directory that a file of ours will be made in must be there. */
static void check_parent(struct schema_load *l, const char *key, const char *file)
{
    struct stat st;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", file);
    char *slash = strrchr(dir, '/');
    ensure(slash != NULL);
    slash[slash == dir ? 1 : 0] = '\0';
    if (stat(dir, &st) != 0)
        schema_fault_at(l, key, "cannot write %s: its directory %s: %s", file, dir, strerrordesc_np(errno));
    else if (!S_ISDIR(st.st_mode))
        schema_fault_at(l, key, "cannot write %s: %s is not a directory", file, dir);
}

static void check_program(struct schema_load *l, const char *key, const char *file)
{
    struct stat st;
    if (stat(file, &st) != 0)
        schema_fault_at(l, key, "cannot run %s: %s", file, strerrordesc_np(errno));
    else if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
        schema_fault_at(l, key, "cannot run %s: it is no program; chmod 0755 it if it is meant to be one", file);
}

void config_check_files(struct schema_load *l, struct config *c)
{
    char key[64];
    check_names(l, c);
    for (uint32_t i = 0; i < c->nlisteners; i++)
        check_listener_files(l, &c->listeners[i], i);
    for (uint32_t i = 0; i < c->nroutes; i++) {
        struct config_route *r = &c->routes[i];
        if (r->auth.password_file == NULL)
            continue;
        snprintf(key, sizeof key, "routes[%u].auth.password_file", i);
        r->auth.password = read_secret(l, key, r->auth.password_file, 1);
    }
    if (c->admin.ntls > 0) {
        check_readable(l, "admin.tls.certificate", c->admin.tls[0].certificate);
        check_key(l, "admin.tls.key", c->admin.tls[0].key);
    }
    if (c->admin.token_file != NULL)
        c->admin.token = read_secret(l, "admin.token_file", c->admin.token_file, 16);
    if (c->resolver.trust_anchor_file != NULL)
        check_readable(l, "resolver.trust_anchor_file", c->resolver.trust_anchor_file);
    config_dkim_files(l, c);
    if (c->cluster.address_hook != NULL)
        check_program(l, "cluster.address_hook", c->cluster.address_hook);
    check_dir(l, "data_dir", c->data_dir);
    if (schema_has(l, "spool.dir"))
        check_dir(l, "spool.dir", c->spool.dir);
    if (c->log.events_kind == CONFIG_EVENTS_FILE)
        check_parent(l, "log.events", c->log.events);
}
