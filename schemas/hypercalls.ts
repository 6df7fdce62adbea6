/**
 * What Xen's hypercalls and their operations are called, by number: what a program passes to ioctl
 * IOCTL_PRIVCMD_HYPERCALL. Facts of Xen's public interface (xen.h, domctl.h, sysctl.h, memory.h, …); numbers that are no
 * more in use keep the names that they had.
 */

/** `from` and the following numbers; a `-` is skipped. */
const run = (words: string, from = 0): [number, string][] =>
  words
    .trim()
    .split(/\s+/)
    .map((name, i): [number, string] => [from + i, name])
    .filter(([, name]) => name !== '-');

/** Hypercalls, without `__HYPERVISOR_`. */
export const HYPERCALL_NAMES: ReadonlyMap<number, string> = new Map(
  run(`set_trap_table mmu_update set_gdt stack_switch set_callbacks fpu_taskswitch sched_op_compat platform_op
    set_debugreg get_debugreg update_descriptor - memory_op multicall update_va_mapping set_timer_op
    event_channel_op_compat xen_version console_io physdev_op_compat grant_table_op vm_assist
    update_va_mapping_otherdomain iret vcpu_op set_segment_base mmuext_op xsm_op nmi_op sched_op callback_op
    xenoprof_op event_channel_op physdev_op hvm_op sysctl domctl kexec_op tmem_op argo_op xenpmu_op dm_op hypfs_op`),
);

/** Operations by hypercall. */
export const HYPERCALL_OPERATIONS: Readonly<Record<string, readonly [number, string][]>> = {
  domctl: [
    ...run(
      `createdomain destroydomain pausedomain unpausedomain getdomaininfo getmemlist getpageframeinfo
       getpageframeinfo2 setvcpuaffinity shadow_op max_mem setvcpucontext getvcpucontext getvcpuinfo max_vcpus
       scheduler_op setdomainhandle setdebugging irq_permission iomem_permission ioport_permission hypercall_init
       arch_setup settimeoffset getvcpuaffinity real_mode_area resumedomain sendtrigger subscribe - - -
       gethvmcontext sethvmcontext set_address_size get_address_size assign_device bind_pt_irq memory_mapping
       ioport_mapping pin_mem_cacheattr set_ext_vcpucontext get_ext_vcpucontext set_opt_feature
       test_assign_device set_target deassign_device unbind_pt_irq set_cpuid get_device_group
       set_machine_address_size get_machine_address_size suppress_spurious_page_faults debug_op
       gethvmcontext_partial vm_event_op mem_sharing_op disable_migrate gettscinfo settscinfo getpageframeinfo3
       setvcpuextstate getvcpuextstate set_access_required audit_p2m set_virq_handler set_broken_page_p2m
       setnodeaffinity getnodeaffinity set_max_evtchn cacheflush get_vcpu_msrs set_vcpu_msrs setvnumainfo
       psr_cmt_op - monitor_op psr_alloc soft_reset set_gnttab_limits vuart_op get_cpu_policy set_cpu_policy
       vmtrace_op get_paging_mempool_size set_paging_mempool_size`,
      1,
    ),
    ...run('gdbsx_guestmemio gdbsx_pausevcpu gdbsx_unpausevcpu gdbsx_domstatus', 1000),
  ],
  sysctl: run(
    `readconsole tbuf_op physinfo sched_id perfc_op getdomaininfolist debug_keys getcpuinfo availheap get_pmstat
     cpu_hotplug pm_op - page_offline_op lockprof_op cputopoinfo numainfo cpupool_op scheduler_op coverage_op
     psr_cmt_op pcitopoinfo psr_alloc tmem_op get_cpu_levelling_caps get_cpu_featureset livepatch_op set_parameter
     get_cpu_policy`,
    1,
  ),
  memory_op: run(
    `increase_reservation decrease_reservation maximum_ram_page current_reservation maximum_reservation
     machphys_mfn_list populate_physmap add_to_physmap translate_gpfn_list memory_map machine_memory_map exchange
     machphys_mapping set_memory_map maximum_gpfn remove_from_physmap set_pod_target get_pod_target
     get_sharing_freed_pages get_sharing_shared_pages paging_op access_op sharing_op add_to_physmap_batch
     claim_pages - get_vnumainfo reserved_device_memory_map acquire_resource`,
  ),
  xen_version: run(
    `version extraversion compile_info capabilities changeset platform_parameters get_features pagesize
     guest_handle commandline build_id`,
  ),
  event_channel_op: run(
    `bind_interdomain bind_virq bind_pirq close send status alloc_unbound bind_ipi bind_vcpu unmask reset
     init_control expand_array set_priority`,
  ),
  sched_op: run('yield block shutdown poll remote_shutdown shutdown_code watchdog pin_override'),
  grant_table_op: run(
    `map_grant_ref unmap_grant_ref setup_table dump_table transfer copy query_size unmap_and_replace set_version
     get_status_frames get_version swap_grant_ref cache_flush`,
  ),
  hvm_op: run(
    `set_param get_param set_pci_intx_level set_isa_irq_level set_pci_link_route flush_tlbs track_dirty_vram
     modified_memory set_mem_type pagetable_dying get_time xentrace set_mem_access get_mem_access inject_trap
     get_mem_type inject_msi create_ioreq_server get_ioreq_server_info map_io_range_to_ioreq_server
     unmap_io_range_from_ioreq_server destroy_ioreq_server set_ioreq_server_state set_evtchn_upcall_vector
     guest_request_vm_event altp2m`,
  ),
  vcpu_op: run(
    `initialise up down is_up get_runstate_info register_runstate_memory_area set_periodic_timer
     stop_periodic_timer set_singleshot_timer stop_singleshot_timer register_vcpu_info send_nmi get_physid
     register_vcpu_time_memory_area`,
  ),
  mmuext_op: run(
    `pin_l1_table pin_l2_table pin_l3_table pin_l4_table unpin_table new_baseptr tlb_flush_local invlpg_local
     tlb_flush_multi invlpg_multi tlb_flush_all invlpg_all flush_cache set_ldt - new_user_baseptr clear_page
     copy_page flush_cache_global mark_super unmark_super`,
  ),
};

/** Hypercalls whose command is the first word of the structure at the first argument; of others it is that argument. */
export const COMMANDS_IN_MEMORY: readonly string[] = [
  'domctl',
  'sysctl',
  'platform_op',
  'mmuext_op',
];
