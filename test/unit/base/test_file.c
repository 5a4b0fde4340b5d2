/* base/file: replaced whole or not at all, readable for nobody else, not through a link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/turnpike-file-XXXXXX";

static void assert_content(const char *path, const char *want)
{
    char got[64] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    (void)!fread(got, 1, sizeof got - 1, f);
    (void)fclose(f);
    assert_string_equal(got, want);
}

static void is_replaced(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(file_replace("a", SPAN_LIT("a longer content")), 0);
    assert_int_equal(file_replace("a", SPAN_LIT("short")), 0);
    assert_content("a", "short");
    assert_int_equal(stat("a", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(access("a.new", F_OK), -1);
    assert_int_equal(file_replace("a", SPAN_LIT("")), 0);
    assert_content("a", "");
}

static void what_fails_leaves_the_old_one(void **state)
{
    (void)state;
    assert_int_equal(file_replace("b", SPAN_LIT("old")), 0);
    assert_int_equal(mkdir("b.new", 0700), 0);
    assert_int_equal(file_replace("b", SPAN_LIT("new")), -EISDIR);
    assert_content("b", "old");
    assert_int_equal(file_replace("nowhere/b", SPAN_LIT("new")), -ENOENT);
    char *path = malloc(PATH_MAX + 2);
    assert_non_null(path);
    memset(path, 'x', PATH_MAX + 1);
    path[PATH_MAX + 1] = '\0';
    assert_int_equal(file_replace(path, SPAN_LIT("new")), -ENAMETOOLONG);
    free(path);
}

static void not_through_a_link(void **state)
{
    (void)state;
    assert_int_equal(file_write_synced(AT_FDCWD, "target", SPAN_LIT("mine")), 0);
    assert_int_equal(symlink("target", "link"), 0);
    assert_int_equal(file_write_synced(AT_FDCWD, "link", SPAN_LIT("theirs")), -ELOOP);
    assert_content("target", "mine");
    int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(file_write_synced(dir, "target", SPAN_LIT("by its directory")), 0);
    assert_int_equal(fchdir(dir), 0);
    (void)close(dir);
    assert_content("target", "by its directory");
}

int main(void)
{
    if (mkdtemp(folder) == NULL || chdir(folder) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_replaced),
        cmocka_unit_test(what_fails_leaves_the_old_one),
        cmocka_unit_test(not_through_a_link),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (const char *const *name = (const char *const[]){ "a", "b", "target", "link", NULL }; *name != NULL;
         name++)
        (void)unlink(*name);
    (void)rmdir("b.new");
    return chdir("/") != 0 || rmdir(folder) != 0 ? 1 : failed;
}
