// The generated code calls this function, so that a linker keeps the object file beside it. The build embeds the
// contract instead of such a file.
void __component_type_object_force_link_policy(void) {}
