turnpike_library(turnpike_replica
  SOURCES replica.c replica_copy.c replica_encode.c replica_fsm.c replica_io.c replica_install.c replica_member.c replica_propose.c replica_setup.c
    replica_stats.c raft_commit.c
  LINK turnpike_base raft PkgConfig::libuv PkgConfig::libisal)
if(TARGET turnpike_machine)
  target_link_libraries(turnpike_replica PUBLIC turnpike_machine)
endif()
