/* Becoming the configured user after ports are bound. */
#include "node/core/privileges.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ids of config->user and group; -1: unchanged. */
static int lookup(const struct config *c, uid_t *uid, gid_t *gid)
{
    *uid = (uid_t)-1;
    *gid = (gid_t)-1;
    if (c->user != NULL) {
        const struct passwd *pw = getpwnam(c->user);
        if (pw == NULL) {
            log_error("privileges", "user: there is no user %s", c->user);
            return ERR_NOT_FOUND;
        }
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
    }
    if (c->group != NULL) {
        const struct group *gr = getgrnam(c->group);
        if (gr == NULL) {
            log_error("privileges", "group: there is no group %s", c->group);
            return ERR_NOT_FOUND;
        }
        *gid = gr->gr_gid;
    }
    return 0;
}

static int make_dir(const char *path, uid_t uid, gid_t gid)
{
    if (mkdir(path, 0750) == 0) {
        if (geteuid() == 0 && chown(path, uid, gid) != 0) {
            int err = -errno;
            log_error("privileges", "%s: cannot change its owner: %s", path, err_text(err));
            return err;
        }
        return 0;
    }
    int err = -errno;
    if (err == -EEXIST)
        return 0;
    log_error("privileges", "cannot make %s: %s", path, err_text(err));
    return err;
}

int privileges_prepare(const struct config *c)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* what there is must do */
    }
    const rlim_t nice = 20 - PRIVILEGES_NICE; /* as setrlimit(2) counts */
    struct rlimit priority;
    if (getrlimit(RLIMIT_NICE, &priority) == 0 && priority.rlim_cur < nice) {
        priority.rlim_cur = nice;
        if (priority.rlim_max < nice)
            priority.rlim_max = nice;
        (void)setrlimit(RLIMIT_NICE, &priority); /* root, or allowed so far */
    }
    uid_t uid;
    gid_t gid;
    int err = lookup(c, &uid, &gid);
    if (err == 0)
        err = make_dir(c->data_dir, uid, gid);
    if (err == 0)
        err = make_dir(c->spool.dir, uid, gid);
    return err;
}

int privileges_drop(const struct config *c)
{
    if (c->user == NULL && c->group == NULL)
        return 0;
    if (geteuid() != 0) {
        log_info("privileges", "not started as root: stays the user it is");
        return 0;
    }
    uid_t uid;
    gid_t gid;
    int err = lookup(c, &uid, &gid);
    if (err != 0)
        return err;
    if ((c->user != NULL && initgroups(c->user, gid) != 0) || setresgid(gid, gid, gid) != 0 ||
        (c->user != NULL && setresuid(uid, uid, uid) != 0)) {
        err = -errno;
        log_error("privileges", "cannot become %s: %s", c->user != NULL ? c->user : c->group, err_text(err));
        return err;
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a core file would hold passwords and mail */
    return 0;
}
