;; Makes handles of a resource of its own without end, each of which takes the host's memory and none of the guest's.
;;@ component
(type $resource (resource (rep i32)))
(core func $new (canon resource.new $resource))
(core module $storm
  (import "resource" "new" (func $new (param i32) (result i32)))
  (func $start (loop $for-ever (drop (call $new (i32.const 0))) (br $for-ever)))
  (start $start))
(core instance (instantiate $storm (with "resource" (instance (export "new" (func $new))))))
