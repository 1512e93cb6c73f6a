;; Creates handles of its own resource without end; each uses memory of the host and none of the guest.
;;@ component
(type $resource (resource (rep i32)))
(core func $new (canon resource.new $resource))
(core module $storm
  (import "resource" "new" (func $new (param i32) (result i32)))
  (func $start (loop $for-ever (drop (call $new (i32.const 0))) (br $for-ever)))
  (start $start))
(core instance (instantiate $storm (with "resource" (instance (export "new" (func $new))))))
