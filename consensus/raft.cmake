# libraft, linked from its archive: so raft_aio.c and raft_files.c can stand in front of its system calls.
find_library(raft_archive libraft.a HINTS ${raft_LIBRARY_DIRS} ${raft_LIBDIR} REQUIRED NO_CACHE)
add_library(raft STATIC IMPORTED GLOBAL)
turnpike_library(turnpike_raft_aio SOURCES raft_aio.c raft_files.c LINK Threads::Threads)
set_target_properties(raft PROPERTIES IMPORTED_LOCATION ${raft_archive}
  INTERFACE_INCLUDE_DIRECTORIES "${raft_INCLUDE_DIRS}")
target_link_libraries(raft INTERFACE turnpike_raft_aio PkgConfig::libuv PkgConfig::liblz4)
foreach(call io_setup io_destroy io_submit io_getevents posix_fallocate uv_fs_write)
  target_link_options(raft INTERFACE -Wl,--wrap=${call})
endforeach()
